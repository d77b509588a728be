// Whether an engine that has work gets on with it. Load is no sickness: in a long queue, a long
// prompt or a slow step pieces of work are done all the time; in what stands still none is.
#pragma once

#include <cstdint>

#include "base/clock.h"

namespace tutti::server {

// Thread safety: one thread at a time. Fed a few times a second.
class ProgressMonitor {
 public:
  // `progress` as EngineChannel::progress() says.
  void sample(bool has_work, std::uint64_t progress, TimePoint now);

  // There is work, and for 4 s nothing of it was done.
  bool is_stalled(TimePoint now) const;

 private:
  std::uint64_t progress_ = 0;
  bool has_work_ = false;
  TimePoint last_progress_{};
};

}  // namespace tutti::server
