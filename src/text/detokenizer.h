// Text of a stream of tokens, as they come.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

namespace tutti::text {

class Tokenizer;
class DecoderStages;

// What push() and finish() return, put together, equals Tokenizer::decode of all the ids. Never
// half a UTF-8 character: what may still change is held back.
// Thread safety: one thread at a time. The tokenizer must outlive it.
class IncrementalDetokenizer {
 public:
  IncrementalDetokenizer(const Tokenizer& tokenizer, bool skip_special_tokens);
  ~IncrementalDetokenizer();
  IncrementalDetokenizer(IncrementalDetokenizer&&) noexcept;
  IncrementalDetokenizer& operator=(IncrementalDetokenizer&&) noexcept;

  // The text that is certain once `id` has come; may be empty. An id out of range adds nothing.
  std::string push(std::int32_t id);
  // What was held back, invalid bytes as U+FFFD. Nothing may be pushed afterwards.
  std::string finish();

 private:
  const Tokenizer* tokenizer_;
  bool skip_special_tokens_;
  std::unique_ptr<DecoderStages> stages_;
};

}  // namespace tutti::text
