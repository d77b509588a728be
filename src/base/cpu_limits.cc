#include "base/cpu_limits.h"

#include <hwloc.h>
#include <pthread.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <string>
#include <utility>

namespace tutti {
namespace {

namespace fs = std::filesystem;

std::string first_line(const fs::path& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

// The number at the start of `text`; nullopt for words such as "max".
std::optional<double> leading_number(std::string_view text) {
  long long number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end == text.data()) return std::nullopt;
  return static_cast<double>(number);
}

std::optional<double> ratio(std::optional<double> quota, std::optional<double> period) {
  if (!quota || !period || *quota <= 0 || *period <= 0) return std::nullopt;
  return *quota / *period;
}

// "50000 100000" or "max 100000".
std::optional<double> quota_v2(const fs::path& group) {
  const std::string line = first_line(group / "cpu.max");
  const std::size_t space = line.find(' ');
  if (space == std::string::npos) return std::nullopt;
  return ratio(leading_number(line), leading_number(std::string_view(line).substr(space + 1)));
}

std::optional<double> quota_v1(const fs::path& group) {
  return ratio(leading_number(first_line(group / "cpu.cfs_quota_us")),
               leading_number(first_line(group / "cpu.cfs_period_us")));
}

// The smallest quota in `mount`/`group` and every group above it.
template <typename Read>
std::optional<double> smallest_quota(const fs::path& mount, fs::path group, Read read) {
  std::optional<double> smallest;
  for (group = group.relative_path();; group = group.parent_path()) {
    const std::optional<double> quota = read(group.empty() ? mount : mount / group);
    if (quota) smallest = std::min(quota.value(), smallest.value_or(*quota));
    if (group.empty()) return smallest;
  }
}

bool names_cpu_controller(std::string_view controllers) {
  while (!controllers.empty()) {
    const std::size_t comma = controllers.find(',');
    if (controllers.substr(0, comma) == "cpu") return true;
    if (comma == std::string_view::npos) break;
    controllers.remove_prefix(comma + 1);
  }
  return false;
}

struct Topology {
  Topology() {
    loaded = hwloc_topology_init(&handle) == 0;
    if (loaded && hwloc_topology_load(handle) != 0) {
      hwloc_topology_destroy(handle);
      loaded = false;
    }
  }
  Topology(const Topology&) = delete;
  Topology& operator=(const Topology&) = delete;
  ~Topology() {
    if (loaded) hwloc_topology_destroy(handle);
  }
  hwloc_topology_t handle = nullptr;
  bool loaded = false;
};

// Loaded once: detection reads /sys and takes milliseconds. Constant afterwards.
const Topology& topology() {
  static const Topology instance;
  return instance;
}

// The first of hwloc's nodes that is near `cpuset`, in logical order; 0 when there is none.
int node_of(hwloc_topology_t topology, hwloc_const_cpuset_t cpuset) {
  const int num_nodes = hwloc_get_nbobjs_by_type(topology, HWLOC_OBJ_NUMANODE);
  for (int i = 0; i < num_nodes; ++i) {
    const hwloc_obj_t node = hwloc_get_obj_by_type(topology, HWLOC_OBJ_NUMANODE, i);
    if (hwloc_bitmap_intersects(node->cpuset, cpuset)) return i;
  }
  return 0;
}

void add_first_allowed(hwloc_topology_t topology, hwloc_const_cpuset_t cpuset,
                       hwloc_const_cpuset_t allowed, std::vector<Core>& cores) {
  hwloc_bitmap_t mine = hwloc_bitmap_alloc();
  hwloc_bitmap_and(mine, cpuset, allowed);
  const int first = hwloc_bitmap_first(mine);
  if (first >= 0) cores.push_back({first, node_of(topology, mine)});
  hwloc_bitmap_free(mine);
}

std::vector<Core> read_usable_cores() {
  const Topology& machine = topology();
  if (!machine.loaded) return {Core{}};
  hwloc_bitmap_t allowed = hwloc_bitmap_alloc();
  if (hwloc_get_cpubind(machine.handle, allowed, HWLOC_CPUBIND_PROCESS) != 0) {
    hwloc_bitmap_copy(allowed, hwloc_topology_get_allowed_cpuset(machine.handle));
  }
  std::vector<Core> cores = list_cores(machine.handle, allowed);
  hwloc_bitmap_free(allowed);
  if (cores.empty()) cores.push_back({});
  return cores;
}

}  // namespace

std::optional<double> cgroup_cpu_quota(std::string_view membership, const fs::path& root) {
  std::optional<double> smallest;
  while (!membership.empty()) {
    const std::size_t end = std::min(membership.find('\n'), membership.size());
    const std::string_view line = membership.substr(0, end);
    membership.remove_prefix(std::min(end + 1, membership.size()));
    // hierarchy:controllers:path, "0::/user.slice" in version 2.
    const std::size_t first = line.find(':');
    if (first == std::string_view::npos) continue;
    const std::size_t second = line.find(':', first + 1);
    if (second == std::string_view::npos) continue;
    const std::string_view controllers = line.substr(first + 1, second - first - 1);
    const fs::path group(line.substr(second + 1));
    std::optional<double> quota;
    if (controllers.empty()) {
      quota = smallest_quota(root, group, quota_v2);
    } else if (names_cpu_controller(controllers)) {
      quota = smallest_quota(root / "cpu", group, quota_v1);
    }
    if (quota) smallest = std::min(*quota, smallest.value_or(*quota));
  }
  return smallest;
}

std::vector<Core> list_cores(hwloc_topology* topology, const hwloc_bitmap_s* allowed) {
  std::vector<Core> cores;
  for (const hwloc_obj_type_t type : {HWLOC_OBJ_CORE, HWLOC_OBJ_PU}) {
    const int count = hwloc_get_nbobjs_by_type(topology, type);
    for (int i = 0; i < count; ++i) {
      add_first_allowed(topology, hwloc_get_obj_by_type(topology, type, i)->cpuset, allowed, cores);
    }
    if (!cores.empty()) break;
  }
  std::stable_sort(cores.begin(), cores.end(),
                   [](const Core& a, const Core& b) { return a.node < b.node; });
  return cores;
}

const std::vector<Core>& usable_cores_in_order() {
  static const std::vector<Core> cores = read_usable_cores();
  return cores;
}

void confine_process(int num_workers, int group) {
  const Topology& machine = topology();
  const std::vector<Core> given = read_usable_cores();
  if (!machine.loaded || num_workers >= static_cast<int>(given.size())) return;
  hwloc_bitmap_t allowed = hwloc_bitmap_alloc();
  hwloc_bitmap_t set = hwloc_bitmap_alloc();
  for (const Core& core : place_group(given, num_workers, group)) {
    hwloc_bitmap_set(set, static_cast<unsigned>(core.processor));
    const hwloc_obj_t unit =
        hwloc_get_pu_obj_by_os_index(machine.handle, static_cast<unsigned>(core.processor));
    const hwloc_obj_t whole =
        unit ? hwloc_get_ancestor_obj_by_type(machine.handle, HWLOC_OBJ_CORE, unit) : nullptr;
    if (whole) hwloc_bitmap_or(set, set, whole->cpuset);
  }
  if (hwloc_get_cpubind(machine.handle, allowed, HWLOC_CPUBIND_PROCESS) == 0) {
    hwloc_bitmap_and(set, set, allowed);
    hwloc_set_cpubind(machine.handle, set, HWLOC_CPUBIND_PROCESS);
  }
  hwloc_bitmap_free(set);
  hwloc_bitmap_free(allowed);
}

bool pin_this_thread(int processor) {
  const Topology& machine = topology();
  if (!machine.loaded) return false;
  hwloc_bitmap_t set = hwloc_bitmap_alloc();
  hwloc_bitmap_only(set, static_cast<unsigned>(processor));
  const bool bound = hwloc_set_cpubind(machine.handle, set, HWLOC_CPUBIND_THREAD) == 0;
  hwloc_bitmap_free(set);
  return bound;
}

struct ScopedBinding::Saved {
  Saved() : processors(hwloc_bitmap_alloc()) {}
  Saved(const Saved&) = delete;
  Saved& operator=(const Saved&) = delete;
  ~Saved() { hwloc_bitmap_free(processors); }
  hwloc_bitmap_t processors;
};

ScopedBinding::ScopedBinding() {
  const Topology& machine = topology();
  if (!machine.loaded) return;
  auto saved = std::make_unique<Saved>();
  if (hwloc_get_cpubind(machine.handle, saved->processors, HWLOC_CPUBIND_THREAD) == 0) {
    saved_ = std::move(saved);
  }
}

ScopedBinding::~ScopedBinding() {
  if (saved_) hwloc_set_cpubind(topology().handle, saved_->processors, HWLOC_CPUBIND_THREAD);
}

void name_this_thread(const char* name) { (void)::pthread_setname_np(::pthread_self(), name); }

}  // namespace tutti
