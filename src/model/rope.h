// Rotary position embeddings: frequencies from a description, and tables of cos and sin.
#pragma once

#include <vector>

#include "device/ops.h"
#include "model/description.h"

namespace tutti::model {

// rotary_dim / 2 frequencies, in radians a position, rounded to float as transformers computes
// them (modeling_rope_utils.py). `long_context` picks LongRoPE's long factors.
std::vector<float> inverse_frequencies(const RopeDescription& rope, bool long_context);

// The factors that cos and sin are multiplied with when a context is stretched by `factor`:
// YaRN's 0.1 * mscale * ln(factor) + 1, and LongRoPE's sqrt(1 + ln(factor) / ln(original)).
double yarn_attention_factor(double factor, double mscale);
double longrope_attention_factor(double factor, int original_max_positions);

// A table that grows. The bits of a position do not depend on when or how it grew.
// Thread safety: one thread; growing works on the pool.
class RopeTableBuilder {
 public:
  // LongRoPE has two sets of factors, for sequences within the original context and for longer
  // ones. Changing over in the middle would make cached keys wrong, and choosing by the longest in
  // the batch would make an answer depend on company; so all sequences take the long set when
  // `max_positions` (which a sequence may have) exceeds the original context, as vLLM does.
  RopeTableBuilder(const RopeDescription& rope, int max_positions);

  // The table with at least `num_positions` (<= max_positions) positions.
  const device::RopeTable& at_least(int num_positions, ThreadPool& pool);
  // Bytes of the table when it has all positions.
  std::size_t max_bytes() const;

 private:
  std::vector<float> frequencies_;
  double attention_factor_;
  int max_positions_;
  device::RopeTable table_;
};

}  // namespace tutti::model
