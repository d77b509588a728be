// How fast sequences end, lately: what a refused client is told to wait for.
#pragma once

#include <mutex>

#include "base/clock.h"

namespace tutti::server {

// An average that forgets exponentially. Thread safety: every member may be called from any thread.
class DrainRate {
 public:
  explicit DrainRate(TimePoint now) : started_(now), updated_(now) {}

  // A sequence has ended.
  void count(TimePoint now);
  // Ends a second, over about the last half minute.
  double per_second(TimePoint now) const;

 private:
  double decayed(TimePoint now) const;

  mutable std::mutex mutex_;
  const TimePoint started_;
  TimePoint updated_;
  double rate_ = 0;
};

// Seconds, in [1, 60], until `num_waiting` sequences and one more have left the queue.
int retry_after_seconds(int num_waiting, double drained_per_second);

}  // namespace tutti::server
