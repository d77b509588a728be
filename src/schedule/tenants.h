// Who has been served how much: a virtual counter for each tenant, as in "Fairness in Serving Large
// Language Models" (Sheng et al., 2024). Least served goes first.
//
// Thread safety: owned by the engine's thread.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <unordered_map>

#include "core/ids.h"

namespace tutti::schedule {

// What a token counts. A generated one occupies a whole row of a step, a prompt's shares one
// reading of the weights with the others of its chunk.
inline constexpr double kPromptTokenCost = 1;
inline constexpr double kGeneratedTokenCost = 2;

// Its place among the waiting of a tenant: smaller first. No two have one order.
struct WaitingPlace {
  int priority = 0;
  std::uint64_t order = 0;
  SequenceId id;
  friend bool operator<(const WaitingPlace& a, const WaitingPlace& b) {
    return a.priority != b.priority ? a.priority < b.priority : a.order < b.order;
  }
};

struct Tenant {
  std::string name;
  double weight = 1;  // of the latest sequence
  double served = 0;  // cost of what was computed for it, divided by the weight
  int num_open = 0;   // sequences
  std::set<WaitingPlace> waiting;
};

class Tenants {
 public:
  // A sequence was submitted. A tenant that had none begins at least where the least served of the
  // others is: time away earns no credit.
  Tenant& open(const std::string& name, double weight);
  // A sequence ended.
  void close(Tenant& tenant);

  static void charge(Tenant& tenant, double cost) { tenant.served += cost / tenant.weight; }

  // Those with open sequences, and some without.
  const std::unordered_map<std::string, Tenant>& all() const { return tenants_; }

 private:
  double least_served() const;  // among those with open sequences
  void forget_idle();

  std::unordered_map<std::string, Tenant> tenants_;
  int num_active_ = 0;  // with open sequences
};

}  // namespace tutti::schedule
