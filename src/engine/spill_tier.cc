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

// What a block is waited for while nothing is known of the time that computing takes; and at least,
// since the thread that reads may wait for a core itself.
constexpr double kPatience = 1, kLeastPatience = 0.02;

double to_seconds_since(TimePoint begin) { return to_seconds(SteadyClock::now() - begin); }

Duration from_seconds(double seconds) {
  return std::chrono::duration_cast<Duration>(
      std::chrono::duration<double>(std::max(0.0, seconds)));
}

// Of `num_blocks` blocks from `first` on; 0: not known.
double seconds_to_compute(int first, int num_blocks, const schedule::StepCosts& costs) {
  if (costs.per_prefill_row <= 0) return 0;
  const double num_rows = static_cast<double>(num_blocks) * kBlockSize;
  const double position = static_cast<double>(first) * kBlockSize + num_rows / 2;
  return num_rows * (costs.per_prefill_row + costs.per_position * position);
}

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

bool SpillTier::is_cheaper(const Range& range, const schedule::StepCosts& costs) {
  const double computing = seconds_to_compute(range.first, range.num_blocks, costs);
  // As long as no prompt was measured computing is taken for slow.
  if (computing <= 0 || range.num_blocks * seconds_a_block_ < computing) return true;
  seconds_a_block_ *= kFading;
  return false;
}

SpillTier::Range SpillTier::restorable(const State& state, const Sequence& sequence,
                                       const schedule::StepCosts& costs) {
  Range range;
  if (!store_->is_on()) return range;
  range.first = static_cast<int>(state.cached_prefix(sequence).blocks.size());
  const int end = State::num_reusable_blocks(sequence);
  int index = range.first;
  while (index < end && store_->contains(state.block_key(sequence, index))) ++index;
  range.num_blocks = index - range.first;
  if (range.num_blocks > 0 && !is_cheaper(range, costs)) range.num_blocks = 0;
  return range;
}

int SpillTier::num_restorable(const State& state, const Sequence& sequence,
                              const schedule::StepCosts& costs) {
  return restorable(state, sequence, costs).num_blocks;
}

SpillTier::Restored SpillTier::restore(State& state, SequenceId id,
                                       const schedule::StepCosts& costs, double max_seconds) {
  const Sequence& sequence = state.sequence(id);
  const Range range = restorable(state, sequence, costs);
  if (range.num_blocks == 0) return {};
  if (max_seconds <= 0) return {.is_all = false};
  const TimePoint begin = SteadyClock::now();
  bool may_wait = !asked_at_.contains(id) || state.running().empty();
  bool is_late = false, is_first = true, is_pending = false;
  double reading_seconds = 0;
  Restored restored;
  restored.num_blocks = state.restore(sequence, range.num_blocks, [&](int index, BlockId block) {
    save_evicted(state);
    const double seconds_left = max_seconds - to_seconds_since(begin);
    is_late = !std::exchange(is_first, false) && seconds_left < 0;
    if (is_late) return false;
    const cache::SpillStore::Found found =
        store_->get(state.block_key(sequence, index), from_seconds(may_wait ? seconds_left : 0));
    is_pending = found.is_pending;
    if (found.bytes.empty()) return false;
    may_wait = true;
    const TimePoint read_at = SteadyClock::now();
    ops_.load_kv(cache_, block, found.bytes);
    reading_seconds += found.seconds + to_seconds_since(read_at);
    return true;
  });
  restored.seconds = to_seconds_since(begin);
  if (restored.num_blocks > 0) {
    asked_at_.erase(id);
    const double latest = reading_seconds / restored.num_blocks;
    const double weight = seconds_a_block_ > 0 ? kLatest : 1;
    seconds_a_block_ += weight * (latest - seconds_a_block_);
    const int num_blocks = static_cast<int>(state.cached_prefix(sequence).blocks.size());
    store_->touch(state.block_key(sequence, num_blocks - 1));
    restored.is_all = !(is_late || is_pending) || !has_come_further(id, num_blocks);
  } else {
    restored.is_all = !is_pending || !is_worth_waiting(id, range, costs);
  }
  return restored;
}

bool SpillTier::is_worth_waiting(SequenceId id, const Range& range,
                                 const schedule::StepCosts& costs) {
  const TimePoint asked_at = asked_at_.try_emplace(id, SteadyClock::now()).first->second;
  const double computing = seconds_to_compute(range.first, range.num_blocks, costs);
  const double waited = to_seconds_since(asked_at);
  if (waited < (computing > 0 ? std::max(computing, kLeastPatience) : kPatience)) return true;
  // Nor are others to wait for it, until that has faded.
  seconds_a_block_ = std::max(seconds_a_block_, waited);
  asked_at_.erase(id);
  return false;
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
