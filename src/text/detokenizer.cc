#include "text/detokenizer.h"

#include "text/tokenizer.h"
#include "text/tokens/token_decoder.h"
#include "text/tokens/vocabulary.h"

namespace tutti::text {

IncrementalDetokenizer::IncrementalDetokenizer(const Tokenizer& tokenizer, bool skip_special_tokens)
    : tokenizer_(&tokenizer),
      skip_special_tokens_(skip_special_tokens),
      stages_(std::make_unique<DecoderStages>(tokenizer.decoder_plan().make_stages())) {}

IncrementalDetokenizer::~IncrementalDetokenizer() = default;
IncrementalDetokenizer::IncrementalDetokenizer(IncrementalDetokenizer&&) noexcept = default;
IncrementalDetokenizer& IncrementalDetokenizer::operator=(IncrementalDetokenizer&&) noexcept =
    default;

std::string IncrementalDetokenizer::push(std::int32_t id) {
  const Vocabulary& vocabulary = tokenizer_->vocabulary();
  if (!vocabulary.contains(id) || (skip_special_tokens_ && vocabulary.is_special(id))) return {};
  return stages_->push(tokenizer_->decoder_input(id));
}

std::string IncrementalDetokenizer::finish() { return stages_->finish(); }

}  // namespace tutti::text
