// Finds added tokens written in a text.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "text/text_span.h"
#include "text/tokenizer_spec.h"
#include "text/tokens/byte_trie.h"
#include "text/tokens/normalizer.h"

namespace tutti::text {

// A stretch of a text: an added token, or ordinary text between two.
struct TextSegment {
  TextSpan span;
  std::int32_t token_id = -1;  // -1: ordinary text
};

// Thread safety: immutable after construction.
class AddedTokenFinder {
 public:
  // Takes the tokens whose `normalized` is as asked; those are looked for in normalized text, where
  // their own content is normalized too.
  AddedTokenFinder(const std::vector<AddedTokenSpec>& tokens, bool normalized,
                   const Normalizer& normalizer);

  bool is_empty() const { return is_empty_; }

  // The leftmost, longest matches and what lies between them, covering `text`. A token that takes
  // white space behind it may overlap one that is white space. Special tokens match
  // only when `parse_special`. No token matches that touches a literal span, unless it is white
  // space alone.
  std::vector<TextSegment> split(std::string_view text, bool parse_special,
                                 std::span<const TextSpan> literal_spans) const;

 private:
  struct Token {
    AddedTokenSpec spec;
    bool is_white_space;  // its content is nothing else
  };
  struct Match {
    TextSpan span;
    const Token* token = nullptr;
  };
  // The longest match that begins at `begin`; no token when there is none.
  Match longest_match(std::string_view text, std::size_t begin, bool parse_special,
                      TextSpan next_literal) const;

  std::vector<Token> tokens_;
  ByteTrie trie_;                     // values are indices of tokens_
  std::array<bool, 256> is_first_{};  // bytes that begin a token
  bool is_empty_ = true;
};

}  // namespace tutti::text
