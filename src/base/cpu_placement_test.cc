// Placement on machines that hwloc simulates.
#include "base/cpu_placement.h"

#include <gtest/gtest.h>
#include <hwloc.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <memory>
#include <set>
#include <string>

#include "base/cpu_limits.h"

namespace tutti {
namespace {

class Machine {
 public:
  explicit Machine(const std::string& description) {
    EXPECT_EQ(hwloc_topology_init(&topology_), 0);
    EXPECT_EQ(hwloc_topology_set_synthetic(topology_, description.c_str()), 0) << description;
    EXPECT_EQ(hwloc_topology_load(topology_), 0);
  }
  ~Machine() { hwloc_topology_destroy(topology_); }
  Machine(const Machine&) = delete;
  Machine& operator=(const Machine&) = delete;

  std::vector<Core> cores() {
    return list_cores(topology_, hwloc_topology_get_allowed_cpuset(topology_));
  }
  std::vector<Core> cores(const std::string& allowed) {
    hwloc_bitmap_t set = hwloc_bitmap_alloc();
    EXPECT_EQ(hwloc_bitmap_list_sscanf(set, allowed.c_str()), 0);
    const std::vector<Core> found = list_cores(topology_, set);
    hwloc_bitmap_free(set);
    return found;
  }

 private:
  hwloc_topology_t topology_ = nullptr;
};

std::vector<int> workers_of_nodes(const std::vector<Core>& places) {
  std::vector<int> counts;
  for (const Core& core : places) {
    if (core.node >= static_cast<int>(counts.size())) counts.resize(core.node + 1, 0);
    ++counts[core.node];
  }
  return counts;
}

TEST(Placement, HyperthreadsOfOneCoreCountOnce) {
  Machine machine("node:2 core:4 pu:2");
  const std::vector<Core> cores = machine.cores();
  ASSERT_EQ(cores.size(), 8u);
  EXPECT_EQ(workers_of_nodes(cores), (std::vector<int>{4, 4}));
  EXPECT_EQ(cores[0], (Core{0, 0}));
  EXPECT_EQ(cores[1], (Core{2, 0}));
  EXPECT_EQ(cores[4], (Core{8, 1}));
}

TEST(Placement, OnlyWhatIsAllowedIsUsed) {
  Machine machine("node:2 core:4 pu:2");
  EXPECT_EQ(machine.cores("3,6-9"), (std::vector<Core>{{3, 0}, {6, 0}, {8, 1}}));
}

TEST(Placement, FewWorkersAreSpreadOverAllNodes) {
  Machine machine("node:2 core:4 pu:2");
  const auto cores = machine.cores();
  EXPECT_EQ(workers_of_nodes(place_workers(cores, 1)), (std::vector<int>{1}));
  EXPECT_EQ(workers_of_nodes(place_workers(cores, 2)), (std::vector<int>{1, 1}));
  EXPECT_EQ(workers_of_nodes(place_workers(cores, 5)), (std::vector<int>{3, 2}));
  EXPECT_EQ(place_workers(cores, 8), cores);
}

TEST(Placement, NodesGetWorkersInProportionToTheirCores) {
  Machine machine("node:2 core:4 pu:1");
  const auto cores = machine.cores("0-3,4");
  EXPECT_EQ(workers_of_nodes(place_workers(cores, 4)), (std::vector<int>{3, 1}));
}

TEST(Placement, NeighbouringWorkersShareANodeAndNoCoreIsTakenTwice) {
  for (const char* description : {"node:4 core:3 pu:2", "package:2 node:2 core:8 pu:1",
                                  "core:6 pu:1", "pu:5", "node:1 core:64 pu:2"}) {
    Machine machine(description);
    const auto cores = machine.cores();
    for (int workers = 1; workers <= static_cast<int>(cores.size()); ++workers) {
      const auto places = place_workers(cores, workers);
      ASSERT_EQ(places.size(), static_cast<std::size_t>(workers)) << description;
      std::set<int> processors;
      for (std::size_t i = 0; i < places.size(); ++i) {
        processors.insert(places[i].processor);
        if (i > 0) {
          EXPECT_GE(places[i].node, places[i - 1].node);
        }
      }
      EXPECT_EQ(processors.size(), places.size()) << description;
    }
  }
}

TEST(Placement, GroupsHaveCoresOfTheirOwnWhileThereAreAny) {
  Machine machine("node:2 core:4 pu:2");
  const auto cores = machine.cores();
  std::set<int> processors;
  for (int group = 0; group < 2; ++group) {
    const auto places = place_group(cores, 3, group);
    EXPECT_EQ(workers_of_nodes(places),
              (group == 0 ? std::vector<int>{2, 1} : std::vector<int>{1, 2}));
    for (const Core& core : places) processors.insert(core.processor);
  }
  EXPECT_EQ(processors.size(), 6u);
  EXPECT_EQ(place_group(cores, 3, 2), place_group(cores, 3, 0)) << "two are left, too few";
  EXPECT_EQ(place_group(cores, 8, 5), cores);
}

// In a process of its own each time, since a binding is for good.
TEST(Placement, AProcessIsConfinedToItsGroup) {
  if (usable_cores_in_order().size() < 2) GTEST_SKIP() << "one core";
  std::set<int> processors;
  for (int group = 0; group < 2; ++group) {
    int ends[2];
    ASSERT_EQ(pipe(ends), 0);
    const pid_t child = fork();
    if (child == 0) {
      confine_process(1, group);
      cpu_set_t set;
      CPU_ZERO(&set);
      sched_getaffinity(0, sizeof(set), &set);
      int first = 0;
      while (first < CPU_SETSIZE && !CPU_ISSET(first, &set)) ++first;
      _exit(write(ends[1], &first, sizeof(first)) == sizeof(first) ? 0 : 1);
    }
    int processor = -1, status = -1;
    EXPECT_EQ(read(ends[0], &processor, sizeof(processor)), ssize_t{sizeof(processor)});
    EXPECT_EQ(waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
    processors.insert(processor);
    close(ends[0]);
    close(ends[1]);
  }
  EXPECT_EQ(processors.size(), 2u);
}

}  // namespace
}  // namespace tutti
