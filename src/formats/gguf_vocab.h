// The tokenizer in a GGUF's metadata (tokenizer.ggml.*).
//
// Format: github.com/ggml-org/ggml/blob/master/docs/gguf.md and llama.cpp's reading of it.
//   tokenizer.ggml.model   "llama" SentencePiece BPE by scores, "gpt2" byte-level BPE by merges,
//                          "gemma4" BPE by merges over characters, "bert" WordPiece
//   tokenizer.ggml.pre     names the split patterns of "gpt2"; see gguf_pre_tokenizers.h
//   tokens, token_type (1 normal, 2 unknown, 3 control, 4 user defined, 5 unused, 6 byte),
//   scores, merges, *_token_id, add_bos_token, add_eos_token, add_space_prefix
#pragma once

#include "base/result.h"
#include "formats/gguf.h"
#include "text/tokenizer_spec.h"

namespace tutti::formats {

// Errors: kCorrupt naming file, key and bound; kUnsupported naming a model or a pre-tokenizer that
// is not known. A file without tokenizer.ggml.pre gets llama.cpp's default patterns, with a warning
// in the log.
Result<text::TokenizerSpec> gguf_vocab(const GgufFile& file);

}  // namespace tutti::formats
