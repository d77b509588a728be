#include "server/progress_monitor.h"

namespace tutti::server {
namespace {

constexpr Duration kLimit = std::chrono::seconds(4);

}  // namespace

void ProgressMonitor::sample(bool has_work, std::uint64_t progress, TimePoint now) {
  if (progress != progress_ || !has_work || !has_work_) last_progress_ = now;
  has_work_ = has_work;
  progress_ = progress;
}

bool ProgressMonitor::is_stalled(TimePoint now) const {
  return has_work_ && now - last_progress_ > kLimit;
}

}  // namespace tutti::server
