// How much of the machine's processors this process was given: affinity mask and cgroup quota.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "base/cpu_placement.h"

namespace tutti {

// The CPU time that cgroups allow, in processors (1.5: one and a half), nullopt without a limit.
// `membership` is the text of /proc/self/cgroup; `root` is where cgroups are mounted. Version 2
// (cpu.max) and version 1 (cpu.cfs_quota_us) are read, in the process's group and all above it;
// the smallest counts. Source: Linux Documentation/admin-guide/cgroup-v2.rst and
// scheduler/sched-bwc.rst.
std::optional<double> cgroup_cpu_quota(std::string_view membership,
                                       const std::filesystem::path& root);

// The physical cores in the affinity mask that the process started with, ordered by NUMA node.
// Never empty. Read once, so that a thread that was pinned later does not shrink it.
const std::vector<Core>& usable_cores_in_order();

// Leaves this process the cores of place_group(), with all their hyperthreads; nothing happens when
// it was given no more than `num_workers` (>= 1), or the system refuses. To be called before
// usable_cores_in_order().
void confine_process(int num_workers, int group);

// Binds the calling thread to one processor by hwloc; false when the system refuses.
bool pin_this_thread(int processor);

// Gives the thread that made it its own processors back at the end: for work on a pool by a thread
// that does other things afterwards, or starts threads, which inherit its binding.
class ScopedBinding {
 public:
  ScopedBinding();
  ScopedBinding(const ScopedBinding&) = delete;
  ScopedBinding& operator=(const ScopedBinding&) = delete;
  ~ScopedBinding();

 private:
  struct Saved;
  std::unique_ptr<Saved> saved_;  // null when the system does not tell
};

// What tools such as top and ps call the calling thread; at most 15 bytes.
void name_this_thread(const char* name);

}  // namespace tutti
