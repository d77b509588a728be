// How many sequences end in a second, lately.
//
// Thread safety: owned by the engine's thread. No clock: the caller says what time it is.
#pragma once

#include "base/clock.h"

namespace tutti::engine {

class DrainRate {
 public:
  // A sequence ended.
  void count(TimePoint now);

  // 0 before the first end. Falls while nothing ends.
  double per_second(TimePoint now) const;

 private:
  double faded_count_ = 0;  // ends, each worth less the longer it is past
  TimePoint counted_at_{};
  TimePoint first_at_{};
};

}  // namespace tutti::engine
