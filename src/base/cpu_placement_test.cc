// Placement on machines that hwloc simulates.
#include "base/cpu_placement.h"

#include <gtest/gtest.h>
#include <hwloc.h>

#include <memory>
#include <set>
#include <string>

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

}  // namespace
}  // namespace tutti
