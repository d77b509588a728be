// Log-probabilities in the shapes of the clients.
#pragma once

#include "base/json.h"
#include "dialects/dialect.h"

namespace tutti::dialects {

// As JSON can hold it: -9999 for minus infinity and anything below, as vLLM does.
double finite_logprob(float logprob);

// {token, logprob, bytes, top_logprobs: [{token, logprob, bytes}]}, as OpenAI's chat and Ollama
// have it.
json::object token_logprob(const OutputToken& token);

// The four lists of OpenAI's text completions, which grow with the answer.
class CompletionLogprobs {
 public:
  explicit CompletionLogprobs(int top_logprobs) : top_logprobs_(top_logprobs) {}

  // {text_offset, token_logprobs, tokens, top_logprobs} for the next tokens of a choice.
  // Offsets count characters from the start of the answer.
  json::object next(const std::vector<OutputToken>& tokens);

 private:
  int top_logprobs_;
  std::int64_t num_characters_ = 0;
};

}  // namespace tutti::dialects
