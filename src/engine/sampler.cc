#include "engine/sampler.h"

#include <cmath>

#include "engine/logits_math.h"
#include "engine/philox.h"

namespace tutti::engine {
namespace {

TokenId draw(std::span<const Candidate> candidates, double uniform) {
  const double target = uniform * total_weight(candidates);
  double sum = 0;
  for (const Candidate& candidate : candidates) {
    sum += candidate.weight;
    if (sum > target) return candidate.token;
  }
  return candidates.back().token;
}

}  // namespace

Result<SampledToken> sample(const SamplingParams& params, const TokenHistory& history,
                            std::span<const float> logits, SamplerScratch& scratch) {
  if (!all_finite(logits)) {
    return Status(ErrorKind::kInternal, "the model's logits are not finite");
  }
  const bool is_greedy = params.temperature < kGreedyTemperature;
  const bool is_changed = changes_logits(params, history);
  // The scores are a copy, which a greedy choice among unchanged logits does without.
  if (is_changed || !is_greedy || params.logprobs) {
    scratch.scores.assign(logits.begin(), logits.end());
  }
  if (is_changed) process_logits(params, history, scratch.counts, scratch.scores);
  const std::span<const float> scores = is_changed ? std::span(scratch.scores) : logits;
  SampledToken sampled;
  if (is_greedy) sampled.token = argmax(scores);
  if (is_changed && std::isinf(greatest(scores))) {
    return invalid_argument("min_tokens", "every token of the vocabulary is forbidden");
  }
  if (!is_greedy) {
    find_candidates(params, scratch.scores, scratch.candidates);
    const auto position = static_cast<std::uint32_t>(history.tokens.size());
    sampled.token = draw(scratch.candidates, uniform_at(params.seed, position));
  }
  if (params.logprobs) {
    const double log_normaliser = log_sum_exp(logits, scratch.scores);
    sampled.logprob = static_cast<float>(logits[sampled.token] - log_normaliser);
    sampled.top_logprobs = best_logprobs(logits, log_normaliser, params.top_logprobs);
  }
  return sampled;
}

}  // namespace tutti::engine
