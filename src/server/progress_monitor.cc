#include "server/progress_monitor.h"

#include <algorithm>

namespace tutti::server {
namespace {

constexpr Duration kLimit = std::chrono::seconds(4);
constexpr int kSlowSteps = 3;  // as many of the slowest steps may pass

}  // namespace

void ProgressMonitor::sample(const engine::EngineStats& stats, TimePoint now) {
  const std::uint64_t num_tokens =
      stats.num_prompt_tokens + stats.num_recomputed_tokens + stats.num_generation_tokens;
  const bool had_work = has_work_;
  has_work_ = stats.num_running + stats.num_waiting > 0;
  const bool moved = num_tokens != num_tokens_;
  if (moved && had_work) {
    const Duration gap = now - last_progress_;
    // Slow steps are forgotten after some hundred quicker ones, and a stall counts once at most.
    slowest_gap_ = std::max(std::min(gap, limit()), slowest_gap_ - slowest_gap_ / 64);
  }
  if (moved || !has_work_ || !had_work) last_progress_ = now;
  num_tokens_ = num_tokens;
}

Duration ProgressMonitor::limit() const { return std::max(kLimit, slowest_gap_ * kSlowSteps); }

bool ProgressMonitor::is_stalled(TimePoint now) const {
  return has_work_ && now - last_progress_ > limit();
}

}  // namespace tutti::server
