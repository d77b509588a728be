#include "engine/truncation.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/check.h"
#include "engine/logits_math.h"

namespace tutti::engine {
namespace {

// What is done with many values at once fits the first-level cache.
constexpr std::size_t kBatch = 512;

void sort_by_token(std::vector<Candidate>& candidates) {
  std::sort(candidates.begin(), candidates.end(),
            [](const Candidate& a, const Candidate& b) { return a.token < b.token; });
}

// The scores from `threshold` on as candidates with their weights, in ascending order of id.
void list_candidates(std::span<const float> scores, float threshold, float max,
                     std::vector<Candidate>& candidates) {
  candidates.clear();
  for_each_at_least(scores, threshold, [&](std::size_t i, float score) {
    candidates.push_back({static_cast<TokenId>(i), score, 0});
    return threshold;
  });
  float differences[kBatch], weights[kBatch];
  for (std::size_t begin = 0; begin < candidates.size(); begin += kBatch) {
    const std::span batch = std::span(candidates).subspan(begin);
    const std::size_t count = std::min(batch.size(), kBatch);
    for (std::size_t i = 0; i < count; ++i) differences[i] = batch[i].score;
    exp_differences({differences, count}, max, {weights, count});
    for (std::size_t i = 0; i < count; ++i) batch[i].weight = weights[i];
  }
}

// The weights' sum over all scores above -infinity, the order fixed by the batches.
double weight_of_all(std::span<const float> scores, float max) {
  constexpr int kLanes = 16;
  double lanes[kLanes] = {};
  float weights[kBatch];
  for (std::size_t begin = 0; begin < scores.size(); begin += kBatch) {
    const auto batch = scores.subspan(begin, std::min(kBatch, scores.size() - begin));
    exp_differences(batch, max, {weights, batch.size()});
    for (std::size_t i = 0; i < batch.size(); ++i) {
      const bool is_forbidden = batch[i] == -std::numeric_limits<float>::infinity();
      lanes[i % kLanes] += is_forbidden ? 0.0f : weights[i];
    }
  }
  double sum = 0;
  for (const double lane : lanes) sum += lane;
  return sum;
}

// Cuts `ranked`, a prefix of the ranking in any order, after the token at which the weights reach
// `mass`; false when they do not.
bool cut_at_mass(double mass, std::vector<Candidate>& ranked) {
  std::sort(ranked.begin(), ranked.end(),
            [](const Candidate& a, const Candidate& b) { return ranks_before(a, b); });
  double sum = 0;
  for (std::size_t i = 0; i < ranked.size(); ++i) {
    sum += ranked[i].weight;
    if (sum >= mass) {
      ranked.resize(i + 1);
      return true;
    }
  }
  return false;
}

// A few tokens usually hold the mass, so only those from a threshold on are listed and sorted, and
// the threshold falls until they suffice. They are the first of the ranking, so the answer is that
// of a full sort. `lowest`: of what may be kept.
void list_top_p(double top_p, std::span<const float> scores, float lowest,
                std::vector<Candidate>& candidates) {
  const float max = greatest(scores);
  double mass = 0;
  if (lowest == std::numeric_limits<float>::lowest()) {
    mass = top_p * weight_of_all(scores, max);
  } else {
    list_candidates(scores, lowest, max, candidates);
    mass = top_p * total_weight(candidates);
  }
  for (const float drop : {4.0f, 8.0f, 14.0f}) {
    list_candidates(scores, std::max(max - drop, lowest), max, candidates);
    if (cut_at_mass(mass, candidates)) return sort_by_token(candidates);
  }
  list_candidates(scores, lowest, max, candidates);
  cut_at_mass(mass, candidates);
  sort_by_token(candidates);
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
  if (params.top_p < 1.0) {
    list_top_p(params.top_p, scores, threshold, candidates);
  } else {
    list_candidates(scores, threshold, greatest(scores), candidates);
  }
  TUTTI_CHECK(!candidates.empty());
  if (params.min_p > 0.0) {
    const float least = static_cast<float>(params.min_p);  // of the best one's weight, which is 1
    std::erase_if(candidates, [&](const Candidate& each) { return each.weight < least; });
  }
  if (params.typical_p < 1.0) keep_typical(params.typical_p, candidates);
}

}  // namespace tutti::engine
