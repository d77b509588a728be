// How long a step takes, learned from the steps that were run.
//
// seconds = base + per_decode_row * d + per_prefill_row * p + per_position * a, where d is the rows
// of sequences that have one, p the rows of prefill chunks, and a the positions that the rows
// attend to in all. Least squares over relative errors; older steps fade, and what the recent steps
// say nothing about stays as it was. No coefficient is negative. A single step that took much
// longer than expected is left out, several in a row are believed.
//
// Thread safety: owned by the engine's thread. No clock: whoever runs the steps measures them.
#pragma once

#include <array>
#include <cstdint>

namespace tutti::schedule {

// The work of a step.
struct StepWork {
  int num_decode_rows = 0;
  int num_prefill_rows = 0;
  double num_positions = 0;
};

// In seconds. All zero: nothing is known, and everything is free.
struct StepCosts {
  double base = 0;
  double per_decode_row = 0;
  double per_prefill_row = 0;
  double per_position = 0;

  double seconds_of(const StepWork& work) const {
    return base + per_decode_row * work.num_decode_rows + per_prefill_row * work.num_prefill_rows +
           per_position * work.num_positions;
  }
  // Prefill rows from `position` on that take at most `seconds`, without the base; >= 0.
  int num_rows_within(double seconds, int position) const;

  friend bool operator==(const StepCosts&, const StepCosts&) = default;
};

class CostModel {
 public:
  // A step that was measured, in seconds > 0.
  void observe(const StepWork& work, double seconds);

  const StepCosts& costs() const { return costs_; }

  // Prefill rows that a step may hold by experience: twice the most that was ever measured, since
  // the fit says nothing about much larger steps; kFirstChunk before the first.
  int max_prefill_rows() const;

  static constexpr int kFirstChunk = 32;

 private:
  static constexpr int kNumCosts = 4;
  using Vector = std::array<double, kNumCosts>;

  void fit();

  StepCosts costs_;
  std::array<Vector, kNumCosts> normal_{};  // sum of weight * x x', faded
  Vector right_{};                          // sum of weight * x y, faded
  std::uint64_t num_observed_ = 0;
  int max_measured_rows_ = 0;
  int num_outliers_in_a_row_ = 0;
};

}  // namespace tutti::schedule
