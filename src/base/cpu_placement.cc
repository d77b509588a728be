#include "base/cpu_placement.h"

#include <algorithm>
#include <map>

#include "base/check.h"

namespace tutti {
std::vector<Core> place_workers(std::span<const Core> cores, int num_workers) {
  TUTTI_CHECK(num_workers >= 1 && num_workers <= static_cast<int>(cores.size()))
      << num_workers << " workers on " << cores.size() << " cores";
  struct Share {
    int node;
    int num_cores = 0;
    int num_workers = 0;
    int remainder = 0;  // in units of 1 / cores.size()
  };
  std::map<int, Share> shares;
  for (const Core& core : cores) {
    shares[core.node].node = core.node;
    ++shares[core.node].num_cores;
  }
  const int total = static_cast<int>(cores.size());
  std::vector<Share*> by_remainder;
  int left = num_workers;
  for (auto& [node, share] : shares) {
    share.num_workers = share.num_cores * num_workers / total;
    share.remainder = share.num_cores * num_workers % total;
    left -= share.num_workers;
    by_remainder.push_back(&share);
  }
  std::stable_sort(by_remainder.begin(), by_remainder.end(),
                   [](const Share* a, const Share* b) { return a->remainder > b->remainder; });
  for (int i = 0; i < left; ++i) ++by_remainder[i]->num_workers;

  std::vector<Core> places;
  for (const Core& core : cores) {
    if (shares[core.node].num_workers-- > 0) places.push_back(core);
  }
  return places;
}

std::vector<Core> place_group(std::span<const Core> cores, int num_workers, int group) {
  std::vector<Core> left(cores.begin(), cores.end());
  const int num_groups = static_cast<int>(cores.size()) / num_workers;
  for (int i = 0; i < group % num_groups; ++i) {
    const std::vector<Core> taken = place_workers(left, num_workers);
    std::erase_if(left, [&taken](const Core& core) {
      return std::find(taken.begin(), taken.end(), core) != taken.end();
    });
  }
  return place_workers(left, num_workers);
}

}  // namespace tutti
