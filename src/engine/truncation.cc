#include "engine/truncation.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/check.h"
#include "engine/logits_math.h"

namespace tutti::engine {
namespace {

// The last token in rank order that top_p keeps, looking only at `ranked`, a prefix of the ranking
// in any order; nullptr when its weights do not reach `mass`.
const Candidate* find_last_kept(std::vector<Candidate>& ranked, double mass) {
  std::sort(ranked.begin(), ranked.end(),
            [](const Candidate& a, const Candidate& b) { return ranks_before(a, b); });
  double sum = 0;
  for (const Candidate& candidate : ranked) {
    sum += candidate.weight;
    if (sum >= mass) return &candidate;
  }
  return nullptr;
}

// A few tokens usually hold the mass, so only those above a threshold are sorted, and the threshold
// falls until they suffice. The tokens above a threshold are the first of the ranking, so the
// answer is that of a full sort.
void keep_top_p(double top_p, std::vector<Candidate>& candidates) {
  const double mass = top_p * total_weight(candidates);
  std::vector<Candidate> ranked;
  for (const float threshold : {0x1p-6f, 0x1p-12f, 0x1p-20f, 0.0f}) {
    ranked.clear();
    std::copy_if(candidates.begin(), candidates.end(), std::back_inserter(ranked),
                 [&](const Candidate& candidate) { return candidate.weight >= threshold; });
    if (const Candidate* last = find_last_kept(ranked, mass)) {
      std::erase_if(candidates, [&](const Candidate& each) { return ranks_before(*last, each); });
      return;
    }
  }
}

void keep_typical(double mass, std::vector<Candidate>& candidates) {
  const double total = total_weight(candidates);
  const double log_total = std::log(total);
  float max = candidates.front().score;
  for (const Candidate& candidate : candidates) max = std::max(max, candidate.score);
  const auto information = [&](const Candidate& candidate) {
    return log_total - (static_cast<double>(candidate.score) - max);
  };
  double entropy = 0;
  for (const Candidate& candidate : candidates) {
    entropy += candidate.weight / total * information(candidate);
  }

  struct Deviation {
    double value;
    std::size_t index;
  };
  std::vector<Deviation> deviations;
  for (std::size_t i = 0; i < candidates.size(); ++i) {
    deviations.push_back({std::abs(information(candidates[i]) - entropy), i});
  }
  std::sort(deviations.begin(), deviations.end(), [](const Deviation& a, const Deviation& b) {
    return a.value != b.value ? a.value < b.value : a.index < b.index;
  });
  double sum = 0;
  std::vector<bool> is_kept(candidates.size(), false);
  double last_value = std::numeric_limits<double>::infinity();
  for (const auto& [value, index] : deviations) {
    if (value > last_value) break;
    is_kept[index] = true;
    sum += candidates[index].weight / total;
    if (sum >= mass) last_value = std::min(last_value, value);
  }
  std::size_t index = 0;
  std::erase_if(candidates, [&](const Candidate&) { return !is_kept[index++]; });
}

}  // namespace

double total_weight(std::span<const Candidate> candidates) {
  double sum = 0;
  for (const Candidate& candidate : candidates) sum += candidate.weight;
  return sum;
}

void find_candidates(const SamplingParams& params, std::span<float> scores,
                     std::vector<Candidate>& candidates) {
  TUTTI_CHECK(params.temperature >= kGreedyTemperature);
  const float temperature = static_cast<float>(params.temperature);
  if (temperature != 1.0f) {
    for (float& score : scores) score /= temperature;
  }
  float threshold = std::numeric_limits<float>::lowest();  // above -infinity
  if (params.top_k > 0 && static_cast<std::size_t>(params.top_k) < scores.size()) {
    threshold = std::max(threshold, kth_greatest(scores, params.top_k));
  }
  const float max = scores[argmax(scores)];
  candidates.clear();
  for (std::size_t i = 0; i < scores.size(); ++i) {
    if (scores[i] >= threshold) candidates.push_back({static_cast<TokenId>(i), scores[i], 0});
  }
  TUTTI_CHECK(!candidates.empty());
  for (Candidate& candidate : candidates) {
    exp_differences({&candidate.score, 1}, max, {&candidate.weight, 1});
  }

  if (params.top_p < 1.0) keep_top_p(params.top_p, candidates);
  if (params.min_p > 0.0) {
    const float least = static_cast<float>(params.min_p);  // of the best one's weight, which is 1
    std::erase_if(candidates, [&](const Candidate& each) { return each.weight < least; });
  }
  if (params.typical_p < 1.0) keep_typical(params.typical_p, candidates);
}

}  // namespace tutti::engine
