// The split patterns that tokenizer.ggml.pre names.
#pragma once

#include <span>
#include <string_view>

namespace tutti::formats {

struct GgufPreTokenizer {
  std::string_view name;
  // Regular expressions; each cuts the pieces of the one before it, its matches stand alone.
  std::span<const std::string_view> patterns;
  bool ignore_merges = false;  // a piece that is a token is that token
  bool add_bos = false;        // unless tokenizer.ggml.add_bos_token says otherwise
  bool nfc = false;            // the model's tokenizer normalizes to NFC, which GGUF cannot say
};

// nullptr for a name that is not known.
const GgufPreTokenizer* find_gguf_pre_tokenizer(std::string_view name);

}  // namespace tutti::formats
