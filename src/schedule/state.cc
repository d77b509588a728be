#include "schedule/state.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/check.h"

namespace tutti::schedule {
namespace {

// A longer answer than this is not planned for, however long it may become.
constexpr int kMaxPlannedTokens = 4096;

// How fast the expected share follows the sequences that end, and how far a preemption, which shows
// that it was too low, moves it towards 1.
constexpr double kShareOfOneEnd = 0.1;
constexpr double kShareOfAPreemption = 0.2;

int num_planned_tokens(const Sequence& sequence) {
  return std::clamp(sequence.max_num_tokens - sequence.num_prompt_tokens, 1, kMaxPlannedTokens);
}

}  // namespace

State::State(const StateOptions& options)
    : options_(options), pool_(options.num_blocks), index_(options.num_blocks, options.hash_key) {}

void State::add(NewSequence added) {
  const SequenceId id = added.id;
  TUTTI_CHECK(added.num_prompt_tokens >= 1 &&
              added.num_prompt_tokens <= static_cast<int>(added.tokens.size()))
      << "sequence " << id.value << ": " << added.num_prompt_tokens << " prompt tokens of "
      << added.tokens.size();
  const auto [found, is_new] = sequences_.try_emplace(id);
  TUTTI_CHECK(is_new) << "sequence " << id.value << " is open already";
  Sequence& sequence = found->second;
  sequence.id = id;
  sequence.order = next_order_++;
  sequence.priority = added.priority;
  sequence.tenant = &tenants_.open(added.tenant, added.tenant_weight);
  sequence.num_prompt_tokens = added.num_prompt_tokens;
  sequence.max_num_tokens = added.max_num_tokens;
  sequence.tokens = std::move(added.tokens);
  sequence.submitted_at = added.submitted_at;
  num_pending_prompt_tokens_ += sequence.num_new_prompt_tokens();
  // The length sets ("ab", "c") apart from ("a", "bc").
  sequence.salt = fmt::format("{}:{}{}", added.tenant.size(), added.tenant, added.cache_salt);
  extend_hashes(sequence);
  by_order_.emplace(sequence.order, id);
  sequence.tenant->waiting.insert(waiting_place(sequence));
}

bool State::is_waiting(SequenceId id) const {
  const Sequence& sequence = sequences_.at(id);
  return sequence.tenant->waiting.contains(waiting_place(sequence));
}

cache::PrefixMatch State::cached_prefix(const Sequence& sequence) const {
  if (!options_.use_prefix_cache) return {};
  return index_.match(sequence.prefix(), sequence.num_tokens() - 1);
}

int State::expected_num_tokens(const Sequence& sequence) const {
  const int expected = sequence.num_prompt_tokens +
                       static_cast<int>(std::ceil(expected_share_ * num_planned_tokens(sequence)));
  // One that is longer than expected goes on for a while.
  return std::clamp(expected, std::min(sequence.num_tokens() + kBlockSize, sequence.max_num_tokens),
                    std::max(sequence.max_num_tokens, sequence.num_tokens() + 1));
}

std::vector<BlockCopy> State::apply(const StepPlan& plan) {
  ++num_steps_;
  for (const SequenceId id : plan.preempted) preempt(id, plan.admitted.empty());
  // What is found in the cache is held before anything is taken, which may evict.
  for (const Admission& each : plan.admitted) {
    admit(each);
    if (each.partial_block) pool_.add_reference(*each.partial_block);
  }
  for (const PlannedRows& rows : plan.rows) {
    Sequence& sequence = sequences_.at(rows.id);
    if (!sequence.first_run_at) sequence.first_run_at = plan.planned_at;
    sequence.block_table.append(take_blocks(rows.num_new_blocks));
    TUTTI_CHECK(sequence.num_computed_tokens + rows.num_rows <= sequence.block_table.capacity());
  }
  std::vector<BlockCopy> copies;
  for (const Admission& each : plan.admitted) {
    if (!each.partial_block) continue;
    const auto blocks = sequences_.at(each.id).block_table.blocks();
    TUTTI_CHECK(blocks.size() > each.cached_blocks.size()) << "no block to copy into";
    copies.push_back({.from = *each.partial_block,
                      .to = blocks[each.cached_blocks.size()],
                      .num_positions = each.num_partial,
                      .id = each.id});
    pool_.release({&*each.partial_block, 1});
  }
  return copies;
}

void State::advance(const PlannedRows& rows) {
  Sequence& sequence = sequences_.at(rows.id);
  const int first = sequence.num_computed_tokens;
  const int end = first + rows.num_rows;
  TUTTI_CHECK(end <= sequence.num_tokens() && end <= sequence.block_table.capacity());
  const int first_new = std::max(first, std::min(end, sequence.max_computed_tokens));
  const int num_new_prompt_tokens =
      std::min(end, sequence.num_prompt_tokens) - std::min(first_new, sequence.num_prompt_tokens);
  counters_.num_recomputed_tokens += first_new - first;
  counters_.num_prompt_tokens += num_new_prompt_tokens;
  Tenants::charge(*sequence.tenant, kPromptTokenCost * num_new_prompt_tokens);
  set_computed(sequence, end);
  sequence.last_step = num_steps_;
  if (options_.use_prefix_cache) index_full_blocks(sequence);
}

void State::append_token(SequenceId id, TokenId token) {
  Sequence& sequence = sequences_.at(id);
  TUTTI_CHECK(sequence.num_pending_tokens() == 0) << "sequence " << id.value << " is not computed";
  sequence.tokens.push_back(token);
  extend_hashes(sequence);
  Tenants::charge(*sequence.tenant, kGeneratedTokenCost);
}

void State::learn_length(SequenceId id) {
  const Sequence& sequence = sequences_.at(id);
  const int num_generated = sequence.num_tokens() - sequence.num_prompt_tokens;
  const double share =
      std::min(1.0, static_cast<double>(num_generated) / num_planned_tokens(sequence));
  expected_share_ += kShareOfOneEnd * (share - expected_share_);
}

void State::remove(SequenceId id) {
  const auto found = sequences_.find(id);
  TUTTI_CHECK(found != sequences_.end()) << "sequence " << id.value << " is not open";
  Sequence& sequence = found->second;
  release_blocks(sequence);
  if (std::erase(running_, id) == 0) sequence.tenant->waiting.erase(waiting_place(sequence));
  by_order_.erase(sequence.order);
  num_pending_prompt_tokens_ -= sequence.num_new_prompt_tokens();
  tenants_.close(*sequence.tenant);
  sequences_.erase(found);
}

void State::preempt(SequenceId id, bool for_memory) {
  TUTTI_CHECK(id != oldest()) << "sequence " << id.value << " is the oldest";
  Sequence& sequence = sequences_.at(id);
  TUTTI_CHECK(std::erase(running_, id) == 1) << "sequence " << id.value << " does not run";
  release_blocks(sequence);
  sequence.tenant->waiting.insert(waiting_place(sequence));
  if (for_memory) expected_share_ += kShareOfAPreemption * (1 - expected_share_);
  ++counters_.num_preemptions;
}

void State::admit(const Admission& admission) {
  Sequence& sequence = sequences_.at(admission.id);
  TUTTI_CHECK(sequence.tenant->waiting.erase(waiting_place(sequence)) == 1)
      << "sequence " << admission.id.value << " does not wait";
  const auto is_older = [this](SequenceId a, SequenceId b) {
    return sequences_.at(a).order < sequences_.at(b).order;
  };
  running_.insert(std::upper_bound(running_.begin(), running_.end(), admission.id, is_older),
                  admission.id);
  for (const BlockId block : admission.cached_blocks) pool_.add_reference(block);
  sequence.block_table.append(admission.cached_blocks);
  sequence.num_shared_blocks = static_cast<int>(admission.cached_blocks.size());
  sequence.num_indexed_blocks = sequence.num_shared_blocks;
  set_computed(sequence, admission.num_cached_tokens());
  if (sequence.first_run_at || !options_.use_prefix_cache) return;
  sequence.num_cached_tokens = std::min(sequence.num_computed_tokens, sequence.num_prompt_tokens);
  counters_.num_prefix_queries += sequence.num_prompt_tokens;
  counters_.num_prefix_hits += sequence.num_cached_tokens;
}

std::vector<BlockId> State::take_blocks(int n) {
  auto blocks = pool_.take(n, [this](BlockId evicted) { evict(evicted); });
  TUTTI_CHECK(blocks) << n << " blocks planned, " << pool_.num_available() << " available";
  return std::move(*blocks);
}

void State::evict(BlockId block) {
  if (options_.reports_blocks) evicted_.push_back({block, index_.key_of(block)});
  index_.erase(block);
}

int State::restore(const Sequence& sequence, int max_blocks, const FillBlock& fill) {
  if (!options_.use_prefix_cache) return 0;
  // All are held until the end, so that none is taken for another.
  std::vector<BlockId> blocks = cached_prefix(sequence).blocks;
  for (const BlockId block : blocks) pool_.add_reference(block);
  const int first = static_cast<int>(blocks.size());
  const int end = first + std::min(max_blocks, num_reusable_blocks(sequence) - first);
  int num_restored = 0;
  for (int index = first; index < end; ++index) {
    const auto taken = pool_.take(1, [this](BlockId evicted) { evict(evicted); });
    if (!taken) break;
    const BlockId block = taken->front();
    const auto parent = index == 0 ? std::nullopt : std::optional(blocks.back());
    const bool is_listed =
        fill(index, block) && index_.insert(sequence.prefix(), index, parent, block) == block;
    if (!is_listed) {
      pool_.release({&block, 1});
      break;
    }
    pool_.keep(block);
    blocks.push_back(block);
    ++num_restored;
  }
  pool_.release(blocks);
  return num_restored;
}

void State::release_blocks(Sequence& sequence) {
  pool_.release(sequence.block_table.take_all());
  sequence.num_computed_tokens = 0;
  sequence.num_indexed_blocks = 0;
  sequence.num_shared_blocks = 0;
}

void State::set_computed(Sequence& sequence, int num_computed_tokens) {
  num_pending_prompt_tokens_ -= sequence.num_new_prompt_tokens();
  sequence.num_computed_tokens = num_computed_tokens;
  sequence.max_computed_tokens = std::max(sequence.max_computed_tokens, num_computed_tokens);
  num_pending_prompt_tokens_ += sequence.num_new_prompt_tokens();
}

void State::extend_hashes(Sequence& sequence) const {
  if (!options_.use_prefix_cache) return;
  const std::span<const TokenId> tokens = sequence.tokens;
  while ((sequence.hashes.size() + 1) * kBlockSize <= tokens.size()) {
    const cache::Hash128 parent =
        sequence.hashes.empty() ? index_.root_hash(sequence.salt) : sequence.hashes.back();
    sequence.hashes.push_back(
        index_.block_hash(parent, tokens.subspan(sequence.hashes.size() * kBlockSize, kBlockSize)));
  }
}

// A block with the same contents that is there already takes the place of the new one: equal
// prefixes have the same bits, whoever computed them.
void State::index_full_blocks(Sequence& sequence) {
  while (sequence.is_indexable &&
         (sequence.num_indexed_blocks + 1) * kBlockSize <= sequence.num_computed_tokens) {
    const int index = sequence.num_indexed_blocks;
    const auto blocks = sequence.block_table.blocks();
    const BlockId block = blocks[index];
    const auto parent = index == 0 ? std::nullopt : std::optional(blocks[index - 1]);
    const auto listed = index_.insert(sequence.prefix(), index, parent, block);
    if (!listed) {
      sequence.is_indexable = false;
    } else if (*listed == block) {
      pool_.keep(block);
      if (options_.reports_blocks) listed_.push_back({block, index_.key_of(block)});
      ++sequence.num_indexed_blocks;
    } else {
      pool_.add_reference(*listed);
      sequence.block_table.replace(index, *listed);
      pool_.release({&block, 1});
      ++sequence.num_indexed_blocks;
    }
  }
}

WaitingPlace State::waiting_place(const Sequence& sequence) {
  return {.priority = sequence.priority, .order = sequence.order, .id = sequence.id};
}

void State::check_invariants() const {
  pool_.check_invariants();
  index_.check_invariants();
  std::size_t num_waiting = 0;
  for (const auto& [name, tenant] : tenants_.all()) num_waiting += tenant.waiting.size();
  TUTTI_CHECK(running_.size() + num_waiting == sequences_.size())
      << "a sequence is lost or listed twice";
  std::vector<int> num_references(pool_.num_blocks(), 0);
  for (const auto& [id, each] : sequences_) {
    const bool is_running = std::count(running_.begin(), running_.end(), id) == 1;
    TUTTI_CHECK(is_running != each.tenant->waiting.contains(waiting_place(each)))
        << "sequence " << id.value << " neither runs nor waits, or does both";
    TUTTI_CHECK(each.num_computed_tokens <= each.num_tokens());
    TUTTI_CHECK(each.num_computed_tokens <= each.block_table.capacity());
    TUTTI_CHECK(is_running || (each.block_table.num_blocks() == 0 && each.num_computed_tokens == 0))
        << "sequence " << id.value << " waits and holds blocks";
    for (const BlockId block : each.block_table.blocks()) ++num_references[block.value];
    const auto blocks = each.block_table.blocks();
    for (int i = 0; i < each.num_indexed_blocks; ++i) {
      TUTTI_CHECK(index_.contains(blocks[i])) << "block " << blocks[i].value << " is not listed";
    }
    const auto found = cached_prefix(each).blocks;
    const auto num_common = std::min<std::size_t>(found.size(), each.num_indexed_blocks);
    TUTTI_CHECK(std::equal(found.begin(), found.begin() + static_cast<std::ptrdiff_t>(num_common),
                           blocks.begin()))
        << "sequence " << id.value << " holds other blocks than the index";
  }
  for (int i = 0; i < pool_.num_blocks(); ++i) {
    TUTTI_CHECK(pool_.ref_count(BlockId(i)) == num_references[i])
        << "block " << i << " has " << pool_.ref_count(BlockId(i)) << " references and is in "
        << num_references[i] << " tables";
    TUTTI_CHECK(pool_.is_kept(BlockId(i)) == index_.contains(BlockId(i)))
        << "block " << i << " is kept and not listed, or listed and not kept";
  }
}

}  // namespace tutti::schedule
