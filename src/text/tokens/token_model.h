// The part of a tokenizer that turns a piece of text into ids.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "text/text_span.h"
#include "text/tokenizer_spec.h"
#include "text/tokens/vocabulary.h"

namespace tutti::text {

// Thread safety: immutable after construction.
class TokenModel {
 public:
  virtual ~TokenModel() = default;
  // Appends the ids of each piece, in order.
  virtual void encode(std::string_view text, std::span<const TextSpan> pieces,
                      std::vector<std::int32_t>& ids) const = 0;
};

// Each refers to `vocabulary`, which must outlive it. `byte_level`: pieces are plain bytes and the
// vocabulary is spelled in the byte-level alphabet (BPE only).
// Errors: kInvalidArgument naming the merge, score or token at fault.
Result<std::unique_ptr<TokenModel>> make_bpe_model(const ModelSpec& spec,
                                                   const Vocabulary& vocabulary, bool byte_level);
Result<std::unique_ptr<TokenModel>> make_score_bpe_model(const ModelSpec& spec,
                                                         const Vocabulary& vocabulary);
Result<std::unique_ptr<TokenModel>> make_unigram_model(const ModelSpec& spec,
                                                       const Vocabulary& vocabulary);
Result<std::unique_ptr<TokenModel>> make_word_piece_model(const ModelSpec& spec,
                                                          const Vocabulary& vocabulary);

// Ids of the tokens "<0x00>" … "<0xFF>", for characters that the vocabulary lacks.
class ByteTokens {
 public:
  ByteTokens() { ids_.fill(-1); }
  explicit ByteTokens(const Vocabulary& vocabulary);

  std::int32_t id(unsigned char byte) const { return ids_[byte]; }
  // False, and nothing is appended, when the token of one of the bytes is missing.
  bool append(std::string_view bytes, std::vector<std::int32_t>& ids) const;

 private:
  std::array<std::int32_t, 256> ids_;
};

// The byte that "<0x1F>" stands for, or -1. Two hexadecimal digits exactly.
int parse_byte_token(std::string_view token);

}  // namespace tutti::text
