#include "server/choice_stream.h"

namespace tutti::server {
namespace {

dialects::TokenText text_of(const text::Tokenizer& tokenizer, TokenId id, float logprob) {
  return {id, tokenizer.decode(std::span(&id, 1), false), tokenizer.token_bytes(id), logprob};
}

}  // namespace

ChoiceStream::ChoiceStream(const text::Tokenizer& tokenizer, Options options)
    : tokenizer_(tokenizer),
      options_(std::move(options)),
      detokenizer_(tokenizer, options_.skip_special_tokens),
      stops_(options_.stop, options_.include_stop) {}

dialects::OutputToken ChoiceStream::token_of(const TokenEvent& event) const {
  dialects::OutputToken output;
  output.token = text_of(tokenizer_, event.token, event.logprob);
  for (const TokenLogprob& top : event.top_logprobs) {
    output.top.push_back(text_of(tokenizer_, top.token, top.logprob));
  }
  return output;
}

void ChoiceStream::append_text(std::string_view text, dialects::OutputDelta& delta) {
  if (num_tokens_ <= options_.min_tokens && options_.min_tokens > 0) {
    delta.text += text;
    return;
  }
  text::StopMatcher::Output output = stops_.push(text);
  delta.text += output.text;
  if (!output.stopped_by) return;
  delta.finish_reason = FinishReason::kStop;
  delta.stop_reason = *output.stopped_by;
  finished_ = true;
}

dialects::OutputDelta ChoiceStream::push(const TokenEvent& event) {
  TUTTI_CHECK(!finished_) << "a token after the end of choice " << options_.choice;
  dialects::OutputDelta delta;
  delta.choice = options_.choice;
  ++num_tokens_;
  delta.num_tokens = 1;
  if (options_.wants_tokens) delta.tokens.push_back(token_of(event));
  append_text(detokenizer_.push(event.token), delta);
  return delta;
}

dialects::OutputDelta ChoiceStream::finish(FinishReason reason, TokenId end_token,
                                           bool is_stop_reason) {
  TUTTI_CHECK(!finished_) << "choice " << options_.choice << " ends twice";
  dialects::OutputDelta delta;
  delta.choice = options_.choice;
  append_text(detokenizer_.finish(), delta);
  if (!finished_) {
    if (end_token >= 0) delta.end_token = end_token;
    delta.text += stops_.finish();
    finished_ = true;
    if (stops_.stopped_by()) {
      delta.finish_reason = FinishReason::kStop;
      delta.stop_reason = *stops_.stopped_by();
    }
  }
  if (!delta.finish_reason) {
    delta.finish_reason = reason;
    if (is_stop_reason) delta.stop_reason = end_token;
  }
  return delta;
}

}  // namespace tutti::server
