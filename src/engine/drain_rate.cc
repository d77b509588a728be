#include "engine/drain_rate.h"

#include <cmath>

namespace tutti::engine {
namespace {

// After so many seconds an end counts 1 / e.
constexpr double kMemorySeconds = 30;

// Short-lived records are not taken for a rate of thousands.
constexpr double kLeastSeconds = 1;

}  // namespace

void DrainRate::count(TimePoint now) {
  if (faded_count_ == 0) first_at_ = now;
  faded_count_ = faded_count_ * std::exp(-to_seconds(now - counted_at_) / kMemorySeconds) + 1;
  counted_at_ = now;
}

double DrainRate::per_second(TimePoint now) const {
  if (faded_count_ == 0) return 0;
  const double count = faded_count_ * std::exp(-to_seconds(now - counted_at_) / kMemorySeconds);
  // What a rate of one a second would have added up to since the first end.
  const double age = std::max(kLeastSeconds, to_seconds(now - first_at_));
  return count / (kMemorySeconds * (1 - std::exp(-age / kMemorySeconds)));
}

}  // namespace tutti::engine
