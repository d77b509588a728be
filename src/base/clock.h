// Time. Code that needs "now" takes it as an argument or takes a Clock, so that tests can steer it.
#pragma once

#include <chrono>

namespace tutti {

using SteadyClock = std::chrono::steady_clock;
using TimePoint = SteadyClock::time_point;
using Duration = SteadyClock::duration;

inline double to_seconds(Duration duration) {
  return std::chrono::duration<double>(duration).count();
}

}  // namespace tutti
