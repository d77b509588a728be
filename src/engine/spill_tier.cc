#include "engine/spill_tier.h"

#include <algorithm>
#include <utility>

#include "base/log.h"

namespace tutti::engine {
namespace {

using schedule::Sequence;
using schedule::State;

// What a step may wait for evicted blocks to find buffers. Computing one anew takes longer.
constexpr auto kMaxWaitForEvicted = std::chrono::milliseconds(100);

// The weight of the latest reading, and what the former count for after one that was not tried:
// a disk that was slow is not slow for ever.
constexpr double kLatest = 0.3, kFading = 0.95;

double to_seconds_since(TimePoint begin) { return to_seconds(SteadyClock::now() - begin); }

}  // namespace

SpillTier::SpillTier(std::unique_ptr<cache::SpillStore> store, device::Ops& ops,
                     device::KvCache& cache)
    : store_(std::move(store)), ops_(ops), cache_(cache) {}

std::unique_ptr<SpillTier> SpillTier::open(const EngineOptions& options, device::Ops& ops,
                                           device::KvCache& cache, std::size_t block_bytes) {
  if (!options.spill) return nullptr;
  const SpillOptions& spill = *options.spill;
  const auto open_store = [&]() -> Result<std::unique_ptr<cache::SpillStore>> {
    TUTTI_ASSIGN_OR_RETURN(auto storage, spill.open_storage
                                             ? spill.open_storage()
                                             : cache::open_spill_storage(spill.file));
    return cache::SpillStore::open(
        std::move(storage),
        {.identity = spill.identity, .block_bytes = block_bytes, .max_bytes = spill.max_bytes});
  };
  auto store = open_store();
  if (!store.ok()) {
    log::warn("the prefix cache goes without its second tier: {}", store.status().message());
    return nullptr;
  }
  log::info("the prefix cache's second tier has {} of {} blocks", (*store)->num_blocks(),
            (*store)->num_slots());
  return std::make_unique<SpillTier>(std::move(*store), ops, cache);
}

void SpillTier::save(std::span<const schedule::ReportedBlock> blocks, Duration max_wait) {
  const TimePoint until = SteadyClock::now() + max_wait;
  for (const schedule::ReportedBlock& each : blocks) {
    const Duration left = std::max<Duration>(until - SteadyClock::now(), Duration::zero());
    store_->put(each.key, left,
                [&](std::span<std::byte> bytes) { ops_.save_kv(cache_, each.block, bytes); });
  }
}

void SpillTier::save_evicted(State& state) { save(state.take_evicted(), kMaxWaitForEvicted); }

bool SpillTier::is_cheaper(int first, int num_blocks, const schedule::StepCosts& costs) {
  const double num_rows = static_cast<double>(num_blocks) * kBlockSize;
  const double position = static_cast<double>(first) * kBlockSize + num_rows / 2;
  const double computing = num_rows * (costs.per_prefill_row + costs.per_position * position);
  // As long as no prompt was measured computing is taken for slow.
  if (costs.per_prefill_row <= 0 || num_blocks * seconds_a_block_ < computing) return true;
  seconds_a_block_ *= kFading;
  return false;
}

int SpillTier::num_restorable(const State& state, const Sequence& sequence,
                              const schedule::StepCosts& costs) {
  if (!store_->is_on()) return 0;
  const int first = static_cast<int>(state.cached_prefix(sequence).blocks.size());
  const int end = State::num_reusable_blocks(sequence);
  int index = first;
  while (index < end && store_->contains(state.block_key(sequence, index))) ++index;
  return index > first && is_cheaper(first, index - first, costs) ? index - first : 0;
}

SpillTier::Restored SpillTier::restore(State& state, SequenceId id,
                                       const schedule::StepCosts& costs, double max_seconds) {
  const Sequence& sequence = state.sequence(id);
  const int num_there = num_restorable(state, sequence, costs);
  if (num_there == 0) return {};
  if (max_seconds <= 0) return {.is_all = false};
  const TimePoint begin = SteadyClock::now();
  bool is_late = false, is_first = true;
  Restored restored;
  restored.num_blocks = state.restore(sequence, num_there, [&](int index, BlockId block) {
    save_evicted(state);
    is_late = !std::exchange(is_first, false) && to_seconds_since(begin) > max_seconds;
    if (is_late) return false;
    const auto bytes = store_->get(state.block_key(sequence, index));
    if (bytes.empty()) return false;
    ops_.load_kv(cache_, block, bytes);
    return true;
  });
  restored.seconds = to_seconds_since(begin);
  if (restored.num_blocks > 0) {
    const double latest = restored.seconds / restored.num_blocks;
    const double weight = seconds_a_block_ > 0 ? kLatest : 1;
    seconds_a_block_ += weight * (latest - seconds_a_block_);
    const int num_blocks = static_cast<int>(state.cached_prefix(sequence).blocks.size());
    store_->touch(state.block_key(sequence, num_blocks - 1));
    restored.is_all = !is_late || !has_come_further(id, num_blocks);
  }
  return restored;
}

bool SpillTier::has_come_further(SequenceId id, int num_blocks) {
  int& furthest = furthest_[id];
  return std::exchange(furthest, std::max(furthest, num_blocks)) < num_blocks;
}

void SpillTier::add_stats(EngineStats& stats) const {
  const cache::SpillCounters counters = store_->counters();
  stats.num_spill_blocks = store_->num_blocks();
  stats.num_spill_reads = counters.num_read;
  stats.num_spill_writes = counters.num_written;
  stats.num_spill_bytes = counters.num_written * store_->block_bytes();
  stats.num_spill_evictions = counters.num_evicted;
  stats.num_spill_damages = counters.num_damaged;
}

}  // namespace tutti::engine
