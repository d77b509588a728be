// Cuts a normalized text into the pieces that the model encodes one by one.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "text/text_span.h"
#include "text/tokenizer_spec.h"

namespace tutti::text {

// Pieces of a text, in order; what lies between them is left out.
struct PreTokenizedText {
  std::string text;
  std::vector<TextSpan> pieces;
  // Whether the first piece begins where the whole input begins.
  bool first_is_at_start = false;
};

// A list of pre-tokenizers, applied in order.
// Thread safety: immutable after construction.
class PreTokenizer {
 public:
  // Errors: a pattern that does not compile; a list that is too long.
  static Result<PreTokenizer> create(const std::vector<PreTokenizerSpec>& specs);
  PreTokenizer(PreTokenizer&&) noexcept;
  PreTokenizer& operator=(PreTokenizer&&) noexcept;
  ~PreTokenizer();

  // `at_start`: `text` stands at the start of the whole input.
  PreTokenizedText apply(std::string text, bool at_start) const;

  // The last pre-tokenizer is ByteLevel: pieces hold plain bytes, and the vocabulary spells bytes
  // in the byte-level alphabet.
  bool is_byte_level() const { return is_byte_level_; }

  // One pre-tokenizer of the list; an implementation detail.
  class Step;

 private:
  PreTokenizer();
  std::vector<std::unique_ptr<const Step>> steps_;
  bool is_byte_level_ = false;
};

}  // namespace tutti::text
