// base/cpu_limits.h without hwloc, which is not there for the cross compiler: the emulated machine
// has the processors of the affinity mask, no topology and no quota.
#include <pthread.h>
#include <sched.h>

#include "base/cpu_limits.h"

namespace tutti {

struct ScopedBinding::Saved {
  cpu_set_t mask;
};
ScopedBinding::ScopedBinding() : saved_(std::make_unique<Saved>()) {
  sched_getaffinity(0, sizeof(saved_->mask), &saved_->mask);
}
ScopedBinding::~ScopedBinding() { sched_setaffinity(0, sizeof(saved_->mask), &saved_->mask); }

std::optional<double> cgroup_cpu_quota(std::string_view, const std::filesystem::path&) {
  return std::nullopt;
}

const std::vector<Core>& usable_cores_in_order() {
  static const std::vector<Core> cores = [] {
    cpu_set_t mask;
    CPU_ZERO(&mask);
    sched_getaffinity(0, sizeof(mask), &mask);
    std::vector<Core> found;
    for (int i = 0; i < CPU_SETSIZE; ++i) {
      if (CPU_ISSET(i, &mask)) found.push_back({i, 0});
    }
    return found;
  }();
  return cores;
}

bool pin_this_thread(int processor) {
  cpu_set_t mask;
  CPU_ZERO(&mask);
  CPU_SET(processor, &mask);
  return sched_setaffinity(0, sizeof(mask), &mask) == 0;
}

void name_this_thread(const char* name) { pthread_setname_np(pthread_self(), name); }

}  // namespace tutti
