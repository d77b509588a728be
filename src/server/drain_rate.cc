#include "server/drain_rate.h"

#include <algorithm>
#include <cmath>

namespace tutti::server {
namespace {

constexpr double kForgetSeconds = 30;

}  // namespace

double DrainRate::decayed(TimePoint now) const {
  return rate_ * std::exp(-to_seconds(now - updated_) / kForgetSeconds);
}

void DrainRate::count(TimePoint now) {
  const std::lock_guard lock(mutex_);
  rate_ = decayed(now) + 1 / kForgetSeconds;
  updated_ = std::max(updated_, now);
}

double DrainRate::per_second(TimePoint now) const {
  const std::lock_guard lock(mutex_);
  // What came before the start is not missing: it was never there.
  const double seen = 1 - std::exp(-to_seconds(now - started_) / kForgetSeconds);
  return seen > 0 ? decayed(now) / seen : 0;
}

int retry_after_seconds(int num_waiting, double drained_per_second) {
  constexpr double kLongest = 60;
  if (num_waiting <= 0) return 1;
  if (drained_per_second <= 0) return static_cast<int>(kLongest);
  const double seconds = std::ceil((num_waiting + 1) / drained_per_second);
  return static_cast<int>(std::clamp(seconds, 1.0, kLongest));
}

}  // namespace tutti::server
