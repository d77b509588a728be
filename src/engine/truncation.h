// Which tokens may be drawn, and with what weight: temperature, top_k, top_p, min_p, typical_p.
#pragma once

#include <span>
#include <vector>

#include "core/ids.h"
#include "core/sampling_params.h"

namespace tutti::engine {

struct Candidate {
  TokenId token = 0;
  float score = 0;   // logit / temperature
  float weight = 0;  // exp(score - the greatest score); not normalised

  // Better first; among equals the lower id.
  friend bool ranks_before(const Candidate& a, const Candidate& b) {
    return a.score != b.score ? a.score > b.score : a.token < b.token;
  }
};

// The tokens that may be drawn, in ascending order of id, never empty. `scores` (processed logits,
// one of them above -infinity, overwritten) are divided by the temperature, which must be at least
// kGreedyTemperature; then follow, in the order of transformers' warpers and each over what the
// one before left:
//   top_k      the k best, and all that equal the k-th
//   top_p      the best until their probabilities reach p; among equals the lower ids
//   min_p      those at least min_p as probable as the best
//   typical_p  those whose information is nearest to the entropy, until their probabilities reach
//              the mass (Meister et al., "Locally Typical Sampling", 2022)
void find_candidates(const SamplingParams& params, std::span<float> scores,
                     std::vector<Candidate>& candidates);

// Below this temperature the greatest logit is taken (vLLM's bound).
inline constexpr double kGreedyTemperature = 1e-5;

// Sum of weights in the candidates' order.
double total_weight(std::span<const Candidate> candidates);

}  // namespace tutti::engine
