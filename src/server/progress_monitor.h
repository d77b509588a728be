// Whether an engine that has work gets on with it. Load is no sickness: a long queue, a long prompt
// or a slow step moves, if slowly; what stands still does not.
#pragma once

#include <cstdint>

#include "base/clock.h"
#include "engine/engine.h"

namespace tutti::server {

// Thread safety: one thread at a time. Fed a few times a second.
class ProgressMonitor {
 public:
  void sample(const engine::EngineStats& stats, TimePoint now);

  // There is work, and for longer than the limit no token was computed, neither of a prompt nor of
  // an answer. The limit is 4 s, and more where this engine's own steps take so long.
  bool is_stalled(TimePoint now) const;
  bool has_work() const { return has_work_; }

 private:
  Duration limit() const;

  std::uint64_t num_tokens_ = 0;  // computed, whatever for
  bool has_work_ = false;
  TimePoint last_progress_{};
  Duration slowest_gap_{};  // between two moments of progress, lately
};

}  // namespace tutti::server
