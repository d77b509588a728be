// Random requests, and what each of them gets alone: computed without an engine.
#pragma once

#include <algorithm>
#include <random>
#include <vector>

#include "core/event.h"
#include "core/request.h"
#include "engine/sampler.h"
#include "tests/support/fake_model.h"

namespace tutti::testing {

class RandomRequests {
 public:
  RandomRequests(std::uint64_t seed, int max_model_len)
      : max_model_len_(max_model_len), random_(seed) {}

  int pick(int low, int high) { return std::uniform_int_distribution(low, high)(random_); }

  // Any of the sampling parameters, prompts up to the context's length.
  SequenceRequest make(int id) {
    SequenceRequest request;
    request.id = SequenceId(id);
    request.prompt.resize(pick(1, pick(0, 3) ? 30 : max_model_len_ - 1));
    for (TokenId& token : request.prompt) token = pick(0, 58);
    for (int i = pick(0, 2); i > 0; --i) request.end_tokens.push_back(pick(0, 58));
    SamplingParams& sampling = request.sampling;
    sampling.seed = random_();
    sampling.temperature = pick(0, 3) * 0.5;
    sampling.max_tokens = pick(0, 9) == 0 ? 0 : pick(1, 180);
    sampling.min_tokens = pick(0, 1) * pick(0, 40);
    if (pick(0, 2) == 0) sampling.top_k = pick(1, 70);
    if (pick(0, 2) == 0) sampling.top_p = 0.01 * pick(1, 99);
    if (pick(0, 3) == 0) sampling.typical_p = 0.01 * pick(1, 99);
    if (pick(0, 3) == 0) sampling.min_p = 0.01 * pick(0, 50);
    if (pick(0, 2) == 0) sampling.repeat_penalty = 0.1 * pick(5, 20);
    if (pick(0, 2) == 0) sampling.repeat_last_n = pick(-1, 64);
    if (pick(0, 3) == 0) sampling.frequency_penalty = 0.1 * pick(-20, 20);
    if (pick(0, 3) == 0) sampling.presence_penalty = 0.1 * pick(-20, 20);
    if (pick(0, 3) == 0) sampling.logit_bias = {{pick(0, 58), static_cast<float>(pick(-9, 9))}};
    sampling.logprobs = pick(0, 1) == 1;
    if (sampling.logprobs) sampling.top_logprobs = pick(0, 5);
    return request;
  }

 private:
  const int max_model_len_;
  std::mt19937_64 random_;
};

// One token after the other, each from all tokens before it.
struct SoloRun {
  std::vector<TokenEvent> tokens;
  FinishReason reason = FinishReason::kLength;
};
inline SoloRun run_alone(const SequenceRequest& request, int max_model_len) {
  SoloRun expected;
  std::vector<TokenId> tokens = request.prompt;
  engine::SamplerScratch scratch;
  while (static_cast<int>(expected.tokens.size()) < request.sampling.max_tokens &&
         static_cast<int>(tokens.size()) < max_model_len) {
    const engine::TokenHistory history{.tokens = tokens,
                                       .num_prompt_tokens = static_cast<int>(request.prompt.size()),
                                       .end_tokens = request.end_tokens};
    const engine::SampledToken sampled =
        *engine::sample(request.sampling, history, fake_logits(tokens), scratch);
    if (std::count(request.end_tokens.begin(), request.end_tokens.end(), sampled.token) > 0) {
      expected.reason = FinishReason::kStop;
      break;
    }
    tokens.push_back(sampled.token);
    expected.tokens.push_back({.token = sampled.token,
                               .index = static_cast<int>(expected.tokens.size()),
                               .logprob = sampled.logprob,
                               .top_logprobs = sampled.top_logprobs});
  }
  return expected;
}

inline bool same_bits(const TokenEvent& a, const TokenEvent& b) {
  const auto same_top = [](const TokenLogprob& x, const TokenLogprob& y) {
    return x.token == y.token && x.logprob == y.logprob;
  };
  return a.token == b.token && a.index == b.index && a.logprob == b.logprob &&
         std::equal(a.top_logprobs.begin(), a.top_logprobs.end(), b.top_logprobs.begin(),
                    b.top_logprobs.end(), same_top);
}

}  // namespace tutti::testing
