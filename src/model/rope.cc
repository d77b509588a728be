#include "model/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/check.h"
#include "base/thread_pool.h"

namespace tutti::model {
namespace {

// Positions a table has at first: small enough to be made in milliseconds.
constexpr int kFirstPositions = 4096;

double llama3_frequency(const RopeDescription& rope, double frequency) {
  const double wavelength = 2 * std::numbers::pi / frequency;
  const double original = rope.original_max_positions;
  if (wavelength < original / rope.high_freq_factor) return frequency;
  if (wavelength > original / rope.low_freq_factor) return frequency / rope.factor;
  const double smooth = (original / wavelength - rope.low_freq_factor) /
                        (rope.high_freq_factor - rope.low_freq_factor);
  return (1 - smooth) * frequency / rope.factor + smooth * frequency;
}

// The pair whose wave turns `rotations` times within the original context.
double yarn_correction_dim(const RopeDescription& rope, double rotations) {
  return rope.rotary_dim *
         std::log(rope.original_max_positions / (rotations * 2 * std::numbers::pi)) /
         (2 * std::log(rope.base));
}

// From the pairs that stay as they are (ramp 0) to those that are divided by the factor (ramp 1).
double yarn_frequency(const RopeDescription& rope, double frequency, int pair) {
  double low = yarn_correction_dim(rope, rope.beta_fast);
  double high = yarn_correction_dim(rope, rope.beta_slow);
  if (rope.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, rope.rotary_dim - 1.0);
  if (low == high) high += 0.001;
  const double ramp = std::clamp((pair - low) / (high - low), 0.0, 1.0);
  return frequency / rope.factor * ramp + frequency * (1 - ramp);
}

}  // namespace

std::vector<float> inverse_frequencies(const RopeDescription& rope, bool long_context) {
  const int half_dim = rope.rotary_dim / 2;
  const std::vector<float>& factors = long_context ? rope.long_factors : rope.short_factors;
  std::vector<float> frequencies;
  for (int i = 0; i < half_dim; ++i) {
    const double plain = std::pow(rope.base, -2.0 * i / rope.rotary_dim);
    double frequency = plain;
    switch (rope.scaling) {
      case RopeScaling::kNone:
        break;
      case RopeScaling::kLinear:
        frequency = plain / rope.factor;
        break;
      case RopeScaling::kLlama3:
        frequency = llama3_frequency(rope, plain);
        break;
      case RopeScaling::kYarn:
        frequency = yarn_frequency(rope, plain, i);
        break;
      case RopeScaling::kLongRope:
      case RopeScaling::kFactors:
        frequency = plain / factors[static_cast<std::size_t>(i)];
        break;
    }
    frequencies.push_back(static_cast<float>(frequency));
  }
  return frequencies;
}

double yarn_attention_factor(double factor, double mscale) {
  return factor <= 1 ? 1 : 0.1 * mscale * std::log(factor) + 1;
}

double longrope_attention_factor(double factor, int original_max_positions) {
  if (factor <= 1 || original_max_positions <= 1) return 1;
  return std::sqrt(1 + std::log(factor) / std::log(original_max_positions));
}

RopeTableBuilder::RopeTableBuilder(const RopeDescription& rope, int max_positions)
    : frequencies_(inverse_frequencies(rope, rope.scaling == RopeScaling::kLongRope &&
                                                 max_positions > rope.original_max_positions)),
      attention_factor_(rope.attention_factor),
      max_positions_(max_positions) {
  table_.half_dim = rope.rotary_dim / 2;
}

std::size_t RopeTableBuilder::max_bytes() const {
  return 2 * sizeof(float) * frequencies_.size() * static_cast<std::size_t>(max_positions_);
}

const device::RopeTable& RopeTableBuilder::at_least(int num_positions, ThreadPool& pool) {
  TUTTI_CHECK(num_positions <= max_positions_) << num_positions << " > " << max_positions_;
  if (num_positions <= table_.num_positions) return table_;
  const int first = table_.num_positions;
  const int wanted = std::max(
      {num_positions, kFirstPositions, first > max_positions_ / 2 ? max_positions_ : first * 2});
  const int last = std::min(wanted, max_positions_);
  const std::size_t half_dim = frequencies_.size();
  table_.cos.resize(half_dim * static_cast<std::size_t>(last));
  table_.sin.resize(half_dim * static_cast<std::size_t>(last));
  const auto fill = [&](std::size_t begin, std::size_t end) {
    for (std::size_t row = begin; row < end; ++row) {
      const std::size_t position = row + static_cast<std::size_t>(first);
      for (std::size_t i = 0; i < half_dim; ++i) {
        const double angle = static_cast<float>(position) * frequencies_[i];
        table_.cos[position * half_dim + i] =
            static_cast<float>(std::cos(angle) * attention_factor_);
        table_.sin[position * half_dim + i] =
            static_cast<float>(std::sin(angle) * attention_factor_);
      }
    }
  };
  pool.parallel_for(static_cast<std::size_t>(last - first), 64, fill);
  table_.num_positions = last;
  return table_;
}

}  // namespace tutti::model
