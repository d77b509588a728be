// Hands out memory to the models of one server, one after the other.
#pragma once

#include <algorithm>
#include <cstddef>

#include "store/engine_model.h"
#include "store/memory_plan.h"

namespace tutti::app {

class MemoryLedger {
 public:
  // `request_bodies`: what they may take.
  explicit MemoryLedger(std::size_t request_bodies) : promised_(request_bodies) {}

  // Tells the next model's plan what is spoken for.
  void apply(store::LoadOptions& load) const {
    load.promised_bytes = promised_;
    if (load.memory_limit > 0) load.memory_limit -= std::min(load.memory_limit - 1, taken_);
  }

  // A model was planned. `promised`: what of it the system still counts as free.
  void count(const store::MemoryPlan& plan, std::size_t promised) {
    const std::size_t own = plan.weights + plan.scratch + plan.spill + plan.kv_cache();
    promised_ += promised;
    taken_ += own - std::min(own, promised);
  }

 private:
  std::size_t promised_;
  std::size_t taken_ = 0;  // no longer counted as free by the system, but within a memory_limit
};

}  // namespace tutti::app
