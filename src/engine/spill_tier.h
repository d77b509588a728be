// Blocks of the KV cache between the pool and the second tier of the prefix cache.
//
// A block is saved as soon as it is full, so that it outlives a crash and costs nothing when it is
// evicted; what found no buffer then is saved when it is evicted. Blocks come back when that is
// cheaper than computing them, by what reading took so far and by the costs of steps. A thread of
// the store reads: a disk that stands still holds up the sequence that waits for it, and that one
// for no longer than computing its blocks takes.
//
// Thread safety: owned by the engine's thread.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <unordered_map>

#include "base/clock.h"
#include "cache/spill_store.h"
#include "device/ops.h"
#include "engine/engine.h"
#include "schedule/cost_model.h"
#include "schedule/state.h"

namespace tutti::engine {

class SpillTier {
 public:
  // `cache` has blocks of store->block_bytes() bytes.
  SpillTier(std::unique_ptr<cache::SpillStore> store, device::Ops& ops, device::KvCache& cache);

  // The tier that the options ask for; null when there is none, or when it cannot be had, which is
  // said in the log.
  static std::unique_ptr<SpillTier> open(const EngineOptions& options, device::Ops& ops,
                                         device::KvCache& cache, std::size_t block_bytes);

  const cache::HashKey& hash_key() const { return store_->hash_key(); }

  // Saves blocks that it does not have, and waits for buffers for at most `max_wait` in all.
  void save(std::span<const schedule::ReportedBlock> blocks, Duration max_wait);
  // Before what the state gave up is written over.
  void save_evicted(schedule::State& state);

  struct Restored {
    int num_blocks = 0;
    double seconds = 0;
    bool is_all = true;  // the tier has no more that is worth to wait for
  };
  // Brings blocks of a waiting sequence back into the state's prefix cache; begins no block after
  // `max_seconds` and waits for none any longer. While others run it waits for a block once, and
  // then only looks whether it has come.
  Restored restore(schedule::State& state, SequenceId id, const schedule::StepCosts& costs,
                   double max_seconds);
  // Blocks that restore() would bring back.
  int num_restorable(const schedule::State& state, const schedule::Sequence& sequence,
                     const schedule::StepCosts& costs);
  // The sequence is gone, or runs.
  void forget(SequenceId id) {
    furthest_.erase(id);
    asked_at_.erase(id);
  }

  // Fills the members that tell of the tier.
  void add_stats(EngineStats& stats) const;

 private:
  // A range of a sequence's blocks.
  struct Range {
    int first = 0;
    int num_blocks = 0;
  };
  // Of the tier that are worth reading.
  Range restorable(const schedule::State& state, const schedule::Sequence& sequence,
                   const schedule::StepCosts& costs);
  bool is_cheaper(const Range& range, const schedule::StepCosts& costs);
  // A block has not come: whether the sequence is to wait for it.
  bool is_worth_waiting(SequenceId id, const Range& range, const schedule::StepCosts& costs);
  // Whether the sequence has more blocks than after any call before.
  bool has_come_further(SequenceId id, int num_blocks);

  const std::unique_ptr<cache::SpillStore> store_;
  device::Ops& ops_;
  device::KvCache& cache_;
  double seconds_a_block_ = 0;  // of reading, lately; 0: nothing was read yet
  std::unordered_map<SequenceId, int> furthest_;
  std::unordered_map<SequenceId, TimePoint> asked_at_;  // for a block that has not come yet
};

}  // namespace tutti::engine
