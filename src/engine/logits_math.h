// Passes over one row of logits, [vocab_size]. Every sum has a fixed order, every exponential is
// made of the same IEEE operations on every machine, and among equals the lowest token id is first.
#pragma once

#include <algorithm>
#include <span>
#include <vector>

#include "core/event.h"
#include "core/ids.h"

namespace tutti::engine {

// No NaN and no infinity.
bool all_finite(std::span<const float> values);

// The greatest value, and its index. `values` holds at least one and no NaN.
float greatest(std::span<const float> values);
TokenId argmax(std::span<const float> values);

// out[i] = exp(values[i] - max), for values <= max. Within 2 ulp; what is below exp(-87) is given
// as about exp(-87).
void exp_differences(std::span<const float> values, float max, std::span<float> out);

// log(sum of exp(values)), for finite values. `buffer` holds as many floats as `values`.
double log_sum_exp(std::span<const float> values, std::span<float> buffer);

// Calls visit(index, value) in order for each value >= threshold; what it returns is the threshold
// from then on. Whole blocks below it are passed over with vector compares.
template <typename Visit>
void for_each_at_least(std::span<const float> values, float threshold, const Visit& visit) {
  constexpr std::size_t kBlock = 64;
  for (std::size_t begin = 0; begin < values.size(); begin += kBlock) {
    const std::span<const float> block =
        values.subspan(begin, std::min(kBlock, values.size() - begin));
    if (block.size() == kBlock && greatest(block) < threshold) continue;
    for (std::size_t i = 0; i < block.size(); ++i) {
      if (block[i] >= threshold) threshold = visit(begin + i, block[i]);
    }
  }
}

// The k-th greatest value, 1 <= k <= size.
float kth_greatest(std::span<const float> values, int k);

// The `count` greatest with logprob = value - log_normaliser, best first.
std::vector<TokenLogprob> best_logprobs(std::span<const float> values, double log_normaliser,
                                        int count);

}  // namespace tutti::engine
