// Which processor each worker of a pool is bound to. Pure functions of a topology, so that they are
// tested on simulated machines.
#pragma once

#include <span>
#include <vector>

// hwloc's handles, without its header.
struct hwloc_topology;
struct hwloc_bitmap_s;

namespace tutti {

// A physical core: one of its logical processors, and the memory it is near to.
struct Core {
  int processor = 0;  // the operating system's index
  int node = 0;       // NUMA nodes in hwloc's logical order, from 0

  friend bool operator==(const Core&, const Core&) = default;
};

// One processor of each core of `topology` that `allowed` touches; hyperthreads of one core count
// once. Ordered by node. A machine without cores or nodes has one node and a core for each
// processor.
std::vector<Core> list_cores(hwloc_topology* topology, const hwloc_bitmap_s* allowed);

// Cores for `num_workers` workers (1 .. cores.size()), ordered by node, so that neighbouring
// workers, which get neighbouring rows, are near the same memory. Nodes get workers in proportion
// to their cores (the largest remainder first), so that every node's memory is read from.
std::vector<Core> place_workers(std::span<const Core> cores, int num_workers);

// The same for the group-th (from 0) of several programs with `num_workers` each: cores that no
// group before it has, from the start again when there are too few for one more.
std::vector<Core> place_group(std::span<const Core> cores, int num_workers, int group);

}  // namespace tutti
