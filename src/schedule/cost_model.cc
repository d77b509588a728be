#include "schedule/cost_model.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"

namespace tutti::schedule {
namespace {

// Brings the features to the size of 1: a decode row, a prefill row and a position count in these
// units.
constexpr double kDecodeUnit = 16, kPrefillUnit = 128, kPositionUnit = 65536;

// What a step's weight is multiplied by with every later one: about the last hundred count.
constexpr double kFading = 0.98;

// Weight of the former coefficients against that of one step.
constexpr double kInertia = 1e-5;

// The first steps touch memory for the first time and are slower than any after.
constexpr std::uint64_t kNumWarmUps = 2;

// A step that took so many times what was expected was disturbed and says nothing, unless it comes
// after so many others of its kind: then the expectation is wrong.
constexpr double kOutlier = 3;
constexpr int kMaxOutliersInARow = 3;
constexpr std::uint64_t kNumBeforeOutliers = 16;

// Errors are relative to what was expected, not to what was measured: the fit is a mean, and not
// one in which a quick step counts more than a slow one. An expectation further off than this is
// not used for it.
constexpr double kCredible = 4;

constexpr int kMaxRows = 1 << 20;

}  // namespace

int StepCosts::num_rows_within(double seconds, int position) const {
  if (seconds <= 0) return 0;
  // n rows cost linear * n + quadratic * n * n.
  const double linear = per_prefill_row + per_position * (position + 0.5);
  const double quadratic = per_position / 2;
  double rows = kMaxRows;
  if (quadratic > 0) {
    rows = (std::sqrt(linear * linear + 4 * quadratic * seconds) - linear) / (2 * quadratic);
  } else if (linear > 0) {
    rows = seconds / linear;
  }
  return static_cast<int>(std::min<double>(rows, kMaxRows));
}

void CostModel::observe(const StepWork& work, double seconds) {
  TUTTI_CHECK(seconds > 0) << "a step of " << seconds << " seconds";
  if (++num_observed_ <= kNumWarmUps) return;
  const double expected = costs_.seconds_of(work);
  const bool is_first_of_its_kind = work.num_prefill_rows > 0 && costs_.per_prefill_row == 0;
  const bool is_outlier = seconds > kOutlier * expected && !is_first_of_its_kind;
  num_outliers_in_a_row_ = is_outlier ? num_outliers_in_a_row_ + 1 : 0;
  if (is_outlier && num_observed_ > kNumBeforeOutliers &&
      num_outliers_in_a_row_ <= kMaxOutliersInARow) {
    return;
  }
  max_measured_rows_ = std::max(max_measured_rows_, work.num_prefill_rows);
  const Vector x = {1, work.num_decode_rows / kDecodeUnit, work.num_prefill_rows / kPrefillUnit,
                    work.num_positions / kPositionUnit};
  const bool is_credible = expected > seconds / kCredible && expected < seconds * kCredible;
  const double scale = is_credible ? expected : seconds;
  const double weight = 1 / (scale * scale);
  for (int i = 0; i < kNumCosts; ++i) {
    for (int j = 0; j < kNumCosts; ++j) {
      normal_[i][j] = kFading * normal_[i][j] + weight * x[i] * x[j];
    }
    right_[i] = kFading * right_[i] + weight * x[i] * seconds;
  }
  fit();
}

// Coordinate descent on the normal equations with a pull towards the former coefficients; it keeps
// each coefficient at or above zero, and a few sweeps a step follow as fast as steps come.
void CostModel::fit() {
  Vector fitted = {costs_.base, costs_.per_decode_row * kDecodeUnit,
                   costs_.per_prefill_row * kPrefillUnit, costs_.per_position * kPositionUnit};
  const Vector former = fitted;
  // The pull is measured by the first feature, which every step has.
  const double pull = kInertia * normal_[0][0];
  constexpr int kNumSweeps = 32;
  for (int sweep = 0; sweep < kNumSweeps; ++sweep) {
    for (int i = 0; i < kNumCosts; ++i) {
      double rest = right_[i] + pull * former[i];
      for (int j = 0; j < kNumCosts; ++j) {
        if (j != i) rest -= normal_[i][j] * fitted[j];
      }
      fitted[i] = std::max(0.0, rest / (normal_[i][i] + pull));
    }
  }
  costs_ = {.base = fitted[0],
            .per_decode_row = fitted[1] / kDecodeUnit,
            .per_prefill_row = fitted[2] / kPrefillUnit,
            .per_position = fitted[3] / kPositionUnit};
}

int CostModel::max_prefill_rows() const {
  return std::max(kFirstChunk, std::min(kMaxRows, 2 * max_measured_rows_));
}

}  // namespace tutti::schedule
