#include "engine/submission_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <span>

namespace tutti::engine {
namespace {

Status check_tokens(const char* field, std::span<const TokenId> tokens, int vocab_size) {
  for (const TokenId token : tokens) {
    if (token >= 0 && token < vocab_size) continue;
    return invalid_argument(
        field, fmt::format("token {} is not one of the vocabulary's {}", token, vocab_size));
  }
  return {};
}

}  // namespace

Status check_submission(const SequenceRequest& request, const EngineLimits& limits, TimePoint now) {
  const std::size_t num_prompt_tokens = request.prompt.size();
  const auto max_model_len = static_cast<std::size_t>(limits.max_model_len);
  if (request.prompt.empty()) return invalid_argument("prompt", "the prompt holds no token");
  if (num_prompt_tokens >= max_model_len) {
    return invalid_argument(
        "prompt", fmt::format("the prompt has {} tokens and the context {} positions, of which "
                              "one is for the answer",
                              num_prompt_tokens, max_model_len));
  }
  if (request.generated.size() > max_model_len - num_prompt_tokens) {
    return invalid_argument(
        "generated", fmt::format("{} prompt and {} generated tokens are more than the context's "
                                 "{} positions",
                                 num_prompt_tokens, request.generated.size(), max_model_len));
  }
  TUTTI_RETURN_IF_ERROR(check_tokens("prompt", request.prompt, limits.vocab_size));
  TUTTI_RETURN_IF_ERROR(check_tokens("generated", request.generated, limits.vocab_size));
  for (const auto& [token, bias] : request.sampling.logit_bias) {
    TUTTI_RETURN_IF_ERROR(check_tokens("logit_bias", {&token, 1}, limits.vocab_size));
  }
  if (request.deadline && *request.deadline <= now) {
    return {ErrorKind::kDeadlineExceeded, "the deadline has passed"};
  }
  return {};
}

int num_queued(int num_open, int num_running, bool engine_has_queue, int max_running) {
  return engine_has_queue ? num_open - num_running : std::max(0, num_open - max_running);
}

Status queue_is_full(int num_waiting, const EngineStats& stats) {
  return {ErrorKind::kOverloaded,
          fmt::format("{} sequences are waiting, the most that may; a place is likely to be free "
                      "in {:.0f} s",
                      num_waiting, std::ceil(seconds_to_a_place(stats)))};
}

}  // namespace tutti::engine
