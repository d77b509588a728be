#include "engine/logits_math.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <functional>

#include "base/check.h"

namespace tutti::engine {
namespace {

constexpr int kSumLanes = 16;

// exp(x) for x <= 0: x = n ln 2 + r with |r| <= ln 2 / 2, exp(r) by a polynomial (the coefficients
// are those of the Cephes library's expf). Without branches, so that the compiler vectorises the
// loops around it; without contraction, so that the bits do not depend on how.
inline float exp_of_nonpositive(float x) {
  constexpr float kLog2E = 1.44269504088896341f;
  constexpr float kLn2High = 0.693359375f, kLn2Low = -2.12194440e-4f;
  constexpr float kRounder = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  x = x < -87.0f ? -87.0f : x;
  const float shifted = x * kLog2E + kRounder;
  const float n = shifted - kRounder;
  const float r = (x - n * kLn2High) - n * kLn2Low;
  float polynomial = 1.9875691500e-4f;
  polynomial = polynomial * r + 1.3981999507e-3f;
  polynomial = polynomial * r + 8.3334519073e-3f;
  polynomial = polynomial * r + 4.1665795894e-2f;
  polynomial = polynomial * r + 1.6666665459e-1f;
  polynomial = polynomial * r + 5.0000001201e-1f;
  polynomial = (polynomial * (r * r) + r) + 1.0f;
  const std::int32_t exponent =
      std::bit_cast<std::int32_t>(shifted) - std::bit_cast<std::int32_t>(kRounder) + 127;
  return polynomial * std::bit_cast<float>(exponent << 23);
}

}  // namespace

bool all_finite(std::span<const float> values) {
  constexpr std::uint32_t kExponentMask = 0x7F800000;
  std::uint32_t found = 0;
  for (const float value : values) {
    found |= (std::bit_cast<std::uint32_t>(value) & kExponentMask) == kExponentMask ? 1u : 0u;
  }
  return found == 0;
}

float greatest(std::span<const float> values) {
  TUTTI_CHECK(!values.empty());
  // Lanes, so that the compiler vectorises it; a maximum does not depend on the order.
  float lanes[kSumLanes];
  std::fill_n(lanes, kSumLanes, values[0]);
  std::size_t i = 0;
  for (; i + kSumLanes <= values.size(); i += kSumLanes) {
    for (int lane = 0; lane < kSumLanes; ++lane) {
      lanes[lane] = values[i + lane] > lanes[lane] ? values[i + lane] : lanes[lane];
    }
  }
  for (; i < values.size(); ++i) lanes[0] = values[i] > lanes[0] ? values[i] : lanes[0];
  return *std::max_element(lanes, lanes + kSumLanes);
}

TokenId argmax(std::span<const float> values) {
  const float max = greatest(values);
  return static_cast<TokenId>(std::find(values.begin(), values.end(), max) - values.begin());
}

void exp_differences(std::span<const float> values, float max, std::span<float> out) {
  for (std::size_t i = 0; i < values.size(); ++i) out[i] = exp_of_nonpositive(values[i] - max);
}

double log_sum_exp(std::span<const float> values, std::span<float> buffer) {
  const float max = greatest(values);
  exp_differences(values, max, buffer.first(values.size()));
  // Value i goes onto lane i % kSumLanes; then the lanes are summed in order.
  double lanes[kSumLanes] = {};
  std::size_t i = 0;
  for (; i + kSumLanes <= values.size(); i += kSumLanes) {
    for (int lane = 0; lane < kSumLanes; ++lane) lanes[lane] += buffer[i + lane];
  }
  for (int lane = 0; i < values.size(); ++i, ++lane) lanes[lane] += buffer[i];
  double sum = 0;
  for (const double lane : lanes) sum += lane;
  return max + std::log(sum);
}

float kth_greatest(std::span<const float> values, int k) {
  TUTTI_CHECK(k >= 1 && static_cast<std::size_t>(k) <= values.size())
      << k << " of " << values.size();
  // A heap of the k greatest so far, the least of them on top.
  std::vector<float> heap(values.begin(), values.begin() + k);
  std::make_heap(heap.begin(), heap.end(), std::greater<>());
  for_each_at_least(values.subspan(k), heap.front(), [&](std::size_t, float value) {
    if (value > heap.front()) {
      std::pop_heap(heap.begin(), heap.end(), std::greater<>());
      heap.back() = value;
      std::push_heap(heap.begin(), heap.end(), std::greater<>());
    }
    return heap.front();
  });
  return heap.front();
}

std::vector<TokenLogprob> best_logprobs(std::span<const float> values, double log_normaliser,
                                        int count) {
  count = std::min(count, static_cast<int>(values.size()));
  if (count <= 0) return {};
  const float threshold = kth_greatest(values, count);
  std::vector<TokenId> tokens;
  for_each_at_least(values, threshold, [&](std::size_t i, float) {
    tokens.push_back(static_cast<TokenId>(i));
    return threshold;
  });
  std::stable_sort(tokens.begin(), tokens.end(),
                   [&](TokenId a, TokenId b) { return values[a] > values[b]; });
  tokens.resize(count);
  std::vector<TokenLogprob> best;
  best.reserve(tokens.size());
  for (const TokenId token : tokens) {
    best.push_back({token, static_cast<float>(values[token] - log_normaliser)});
  }
  return best;
}

}  // namespace tutti::engine
