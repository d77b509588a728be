#include "schedule/planner.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <tuple>

#include "base/check.h"

namespace tutti::schedule {
namespace {

using cache::num_blocks_for;

// The oldest sequence's share of a step's prompt rows when others come before it.
constexpr int kOldestsPart = 16;

// Waiting sequences that a plan looks at and leaves waiting for another's blocks.
constexpr int kMaxHeldBack = 32;

// Victims that a plan considers for one waiting sequence.
constexpr std::size_t kMaxVictims = 32;

// Prompts with so many pending tokens are all short; each doubling is a class of its own.
constexpr int kShortPrompt = 2048;
int length_class(int num_pending) {
  return std::bit_width(static_cast<unsigned>(std::max(0, num_pending - 1)) / kShortPrompt);
}

}  // namespace

bool Planner::Candidate::operator>(const Candidate& other) const {
  const auto key = [](const Candidate& each) {
    return std::tie(each.is_not_first, each.priority, each.served, each.length_class, each.order);
  };
  return key(*this) > key(other);
}

Planner::Planner(const State& state, const StepBudget& budget, TimePoint now)
    : state_(state),
      budget_(budget),
      max_running_(std::min(budget.max_running, budget.num_rows)),
      oldest_order_(state.sequence(state.oldest()).order),
      num_rows_left_(budget.num_rows),
      num_prompt_rows_left_(std::min(budget.num_rows, budget.max_prefill_rows)),
      seconds_left_(prompt_seconds_limit(state, budget) - budget.spent_seconds) {
  plan_.planned_at = now;
}

StepPlan Planner::run() && {
  collect_running();
  serve_oldest();
  serve_decodes();
  serve_prompts();
  return finish();
}

Planner::Share& Planner::share_of(const Tenant& tenant) {
  return shares_.try_emplace(&tenant, Share{.served = tenant.served}).first->second;
}

void Planner::collect_running() {
  outlook_.num_available = state_.pool().num_available();
  int num_own_blocks = 0;
  std::unordered_map<const Tenant*, std::unordered_set<int>> seen;  // priorities
  for (const SequenceId id : state_.running()) {
    const Sequence& sequence = state_.sequence(id);
    Share& share = share_of(*sequence.tenant);
    ++share.num_running;
    share.served += kPromptTokenCost * sequence.num_new_prompt_tokens() / sequence.tenant->weight;
    Entry& entry = entries_.emplace_back();
    entry.sequence = &sequence;
    entry.share = &share;
    entry.is_first_of_tenant = seen[sequence.tenant].insert(sequence.priority).second;
    entry.num_computed = sequence.num_computed_tokens;
    entry.num_blocks = sequence.block_table.num_blocks();
    deserving_.push_back(&entry);
    num_own_blocks += entry.num_blocks - sequence.num_shared_blocks;
    outlook_.forecast.add(member_of(sequence, sequence.num_shared_blocks));
  }
  outlook_.num_running = static_cast<int>(entries_.size());
  outlook_.num_shared_blocks = std::max(0, state_.pool().num_used() - num_own_blocks);
  const auto key = [this](const Entry* each) {
    return std::tuple(!is_oldest(*each->sequence), each->sequence->priority,
                      !each->is_first_of_tenant, each->share->served, each->sequence->order);
  };
  std::sort(deserving_.begin(), deserving_.end(),
            [&key](const Entry* a, const Entry* b) { return key(a) < key(b); });
}

void Planner::serve_oldest() {
  if (deserving_.empty() || !is_oldest(*deserving_.front()->sequence)) return;
  Entry& oldest = *deserving_.front();
  if (is_decode(oldest)) return;
  serve(oldest, std::min(num_rows_for_oldest(oldest.num_computed), oldest.num_pending()));
}

int Planner::num_rows_for_oldest(int position) const {
  const int num_allowed = num_rows_allowed(state_.sequence(state_.oldest()), position);
  const int num_others = std::max(0, outlook_.num_running - 1);
  return std::max(1, std::min(num_allowed / kOldestsPart, num_rows_left_ - num_others));
}

void Planner::serve_decodes() {
  // A row stays for the oldest if it waits.
  const int num_kept = state_.is_waiting(state_.oldest()) ? 1 : 0;
  for (Entry* each : deserving_) {
    if (each->is_preempted || !is_decode(*each)) continue;
    if (num_rows_left_ <= num_kept) return;
    serve(*each, 1);
  }
}

void Planner::serve_prompts() {
  for (Entry* each : deserving_) {
    if (!each->is_preempted && !is_decode(*each) && each->num_pending() > 0) {
      push(*each->sequence, each);
    }
  }
  for (const auto& [name, tenant] : state_.tenants().all()) {
    if (tenant.waiting.empty()) continue;
    next_waiting_[&tenant] = tenant.waiting.begin();
    push_waiting(tenant);
  }
  if (state_.is_waiting(state_.oldest())) push(state_.sequence(state_.oldest()), nullptr);
  while (!candidates_.empty() && num_rows_left_ > 0) {
    const Candidate candidate = candidates_.top();
    candidates_.pop();
    if (candidate.entry == nullptr) {
      serve_waiting(*candidate.sequence);
    } else if (!candidate.entry->is_preempted) {
      Entry& entry = *candidate.entry;
      const int position = entry.num_computed + entry.num_rows;
      const int num_allowed = num_rows_allowed(*entry.sequence, position);
      if (num_allowed > 0) serve(entry, std::min(num_allowed, entry.num_pending()));
    }
  }
}

void Planner::push(const Sequence& sequence, Entry* entry) {
  const int num_pending = entry != nullptr ? entry->num_pending() : sequence.num_pending_tokens();
  candidates_.push({.is_not_first = entry != nullptr || !is_oldest(sequence),
                    .priority = sequence.priority,
                    .served = share_of(*sequence.tenant).served,
                    .length_class = length_class(num_pending),
                    .order = sequence.order,
                    .sequence = &sequence,
                    .entry = entry});
}

// The next of the tenant's queue, but for the oldest of all, which has a place of its own.
void Planner::push_waiting(const Tenant& tenant) {
  auto& next = next_waiting_.at(&tenant);
  if (next != tenant.waiting.end() && next->order == oldest_order_) ++next;
  if (next == tenant.waiting.end()) return;
  push(state_.sequence(next->id), nullptr);
  ++next;
}

int Planner::num_rows_allowed(const Sequence& sequence, int position) const {
  const int by_time = std::isinf(seconds_left_)
                          ? num_rows_left_
                          : budget_.costs.num_rows_within(seconds_left_, position);
  const int num_allowed = std::min({num_rows_left_, num_prompt_rows_left_, by_time});
  return std::max(num_allowed, is_oldest(sequence) ? std::min(1, num_rows_left_) : 0);
}

int Planner::num_coverable_rows(const Entry& entry) const {
  const int num_blocks = entry.num_blocks + entry.num_new_blocks + outlook_.num_available;
  return num_blocks * kBlockSize - entry.num_computed - entry.num_rows;
}

void Planner::serve(Entry& entry, int num_wanted) {
  while (num_coverable_rows(entry) == 0 && preempt_behind(entry)) has_run_out_ = true;
  const int num_rows = std::min({num_wanted, num_rows_left_, num_coverable_rows(entry)});
  if (num_rows > 0) {
    add_rows(entry, num_rows);
  } else {
    has_stalled_ = true;
  }
}

void Planner::add_rows(Entry& entry, int num_rows) {
  const bool is_prompt = !is_decode(entry);
  const int position = entry.num_computed + entry.num_rows;
  entry.num_rows += num_rows;
  const int num_needed = num_blocks_for(entry.num_computed + entry.num_rows);
  const int num_new = std::max(0, num_needed - entry.num_blocks - entry.num_new_blocks);
  entry.num_new_blocks += num_new;
  outlook_.num_available -= num_new;
  num_rows_left_ -= num_rows;
  if (!is_prompt) return;
  num_prompt_rows_left_ = std::max(0, num_prompt_rows_left_ - num_rows);
  const StepCosts& costs = budget_.costs;
  seconds_left_ -=
      num_rows * (costs.per_prefill_row + costs.per_position * (position + (num_rows + 1) / 2.0));
}

// The last of the deserving gives way, unless that is the entry itself.
bool Planner::preempt_behind(const Entry& entry) {
  for (auto each = deserving_.rbegin(); each != deserving_.rend(); ++each) {
    if (*each == &entry) return false;
    if ((*each)->is_preempted) continue;
    preempt(**each);
    return true;
  }
  return false;
}

void Planner::preempt(Entry& entry) {
  TUTTI_CHECK(!is_oldest(*entry.sequence));
  leave(entry, outlook_);
  num_rows_left_ += entry.num_rows;
  entry.num_rows = entry.num_new_blocks = 0;
  entry.is_preempted = true;
  --entry.share->num_running;
  plan_.preempted.push_back(entry.sequence->id);
}

void Planner::serve_waiting(const Sequence& sequence) {
  const auto is_closed = [&] {
    if (is_oldest(sequence)) return false;
    return is_queue_closed_ || has_stalled_ || has_run_out_ || num_held_back_ == kMaxHeldBack;
  };
  if (is_closed() || num_rows_allowed(sequence, 0) == 0) return;
  if (!is_oldest(sequence)) push_waiting(*sequence.tenant);
  if (budget_.held_back.contains(sequence.id)) return;
  cache::PrefixMatch match = state_.cached_prefix(sequence);
  // The copied block is held too until the copy is made.
  if (outlook_.num_available <= num_claimed_by(match, outlook_)) {
    match.partial_block.reset();
    match.num_partial = 0;
  }
  if (waits_for_another(sequence, match)) {
    ++num_held_back_;
  } else if (fits(sequence, match, outlook_) || make_room(sequence, match)) {
    admit(sequence, match);
  } else {
    is_queue_closed_ = true;
  }
}

bool Planner::waits_for_another(const Sequence& sequence, const cache::PrefixMatch& match) const {
  const std::size_t next = match.blocks.size();
  if (is_oldest(sequence) || sequence.hashes.size() <= next) return false;
  return std::any_of(entries_.begin(), entries_.end(), [&](const Entry& each) {
    const Sequence& other = *each.sequence;
    if (each.is_preempted || other.priority > sequence.priority) return false;
    if (other.hashes.size() <= next || other.hashes[next] != sequence.hashes[next]) return false;
    const bool is_moving = each.num_rows > 0 || other.last_step == state_.num_steps();
    return is_moving && each.num_computed < static_cast<int>(next + 1) * kBlockSize;
  });
}

MemoryForecast::Member Planner::member_of(const Sequence& sequence, int num_shared_blocks) const {
  return {.num_own_tokens = sequence.num_tokens() - num_shared_blocks * kBlockSize,
          .num_to_come = std::max(1, state_.expected_num_tokens(sequence) - sequence.num_tokens())};
}

bool Planner::is_held(BlockId block, const Outlook& outlook) const {
  const auto released = outlook.num_released.find(block);
  const int num_released = released != outlook.num_released.end() ? released->second : 0;
  return state_.pool().ref_count(block) > num_released || outlook.claimed.contains(block);
}

void Planner::leave(const Entry& victim, Outlook& outlook) const {
  const Sequence& sequence = *victim.sequence;
  for (const BlockId block : sequence.block_table.blocks()) {
    ++outlook.num_released[block];
    if (!is_held(block, outlook)) ++outlook.num_available;
  }
  outlook.num_available += victim.num_new_blocks;
  outlook.forecast.remove(member_of(sequence, sequence.num_shared_blocks));
  --outlook.num_running;
}

int Planner::num_claimed_by(const cache::PrefixMatch& match, const Outlook& outlook) const {
  const bool claims_partial = match.partial_block && !is_held(*match.partial_block, outlook);
  return static_cast<int>(std::count_if(match.blocks.begin(), match.blocks.end(),
                                        [&](BlockId each) { return !is_held(each, outlook); })) +
         (claims_partial ? 1 : 0);
}

bool Planner::fits(const Sequence& sequence, const cache::PrefixMatch& match,
                   Outlook outlook) const {
  if (outlook.num_running >= max_running_) return false;
  const int num_claimed = num_claimed_by(match, outlook);
  if (outlook.num_available - num_claimed < 1) return false;
  if (outlook.num_running == 0) return true;
  outlook.forecast.add(member_of(sequence, static_cast<int>(match.blocks.size())));
  return outlook.num_shared_blocks + num_claimed + outlook.forecast.peak_blocks() <=
         state_.pool().num_blocks();
}

bool Planner::may_displace(const Sequence& sequence, const Entry& entry) const {
  if (entry.is_preempted || is_oldest(*entry.sequence)) return false;
  if (is_oldest(sequence) || sequence.priority < entry.sequence->priority) return true;
  const auto share = shares_.find(sequence.tenant);
  const int num_running = share != shares_.end() ? share->second.num_running : 0;
  return sequence.priority == entry.sequence->priority && num_running == 0 &&
         entry.share->num_running >= 2;
}

bool Planner::make_room(const Sequence& sequence, const cache::PrefixMatch& match) {
  Outlook outlook = outlook_;
  std::vector<Entry*> victims;
  std::unordered_map<const Share*, int> num_taken;
  for (auto each = deserving_.rbegin(); each != deserving_.rend(); ++each) {
    if (victims.size() == kMaxVictims && !is_oldest(sequence)) return false;
    Entry& entry = **each;
    const bool is_tenants_last = entry.share->num_running - num_taken[entry.share] < 2;
    const bool is_for_share = sequence.priority == entry.sequence->priority;
    if (!may_displace(sequence, entry)) continue;
    if (is_for_share && is_tenants_last && !is_oldest(sequence)) continue;
    ++num_taken[entry.share];
    victims.push_back(&entry);
    leave(entry, outlook);
    if (!fits(sequence, match, outlook)) continue;
    for (Entry* victim : victims) preempt(*victim);
    return true;
  }
  return false;
}

void Planner::admit(const Sequence& sequence, const cache::PrefixMatch& match) {
  const int num_claimed = num_claimed_by(match, outlook_);
  outlook_.claimed.insert(match.blocks.begin(), match.blocks.end());
  if (match.partial_block) outlook_.claimed.insert(*match.partial_block);
  outlook_.num_available -= num_claimed;
  outlook_.num_shared_blocks += num_claimed;
  outlook_.forecast.add(member_of(sequence, static_cast<int>(match.blocks.size())));
  ++outlook_.num_running;
  Entry& entry = entries_.emplace_back();
  entry.sequence = &sequence;
  entry.share = &share_of(*sequence.tenant);
  entry.is_admitted = true;
  entry.num_computed = match.num_tokens();
  entry.num_blocks = static_cast<int>(match.blocks.size());
  ++entry.share->num_running;
  entry.share->served += kPromptTokenCost *
                         std::max(0, sequence.num_new_prompt_tokens() - match.num_tokens()) /
                         sequence.tenant->weight;
  plan_.admitted.push_back({.id = sequence.id,
                            .cached_blocks = match.blocks,
                            .partial_block = match.partial_block,
                            .num_partial = match.num_partial});
  const int num_allowed = is_oldest(sequence) ? num_rows_for_oldest(entry.num_computed)
                                              : num_rows_allowed(sequence, entry.num_computed);
  add_rows(entry,
           std::min({std::max(1, num_allowed), entry.num_pending(), num_coverable_rows(entry)}));
  if (is_oldest(sequence) && entry.num_pending() > 0) push(sequence, &entry);
}

StepPlan Planner::finish() {
  std::erase_if(entries_, [](const Entry& each) { return each.num_rows == 0; });
  std::sort(entries_.begin(), entries_.end(),
            [](const Entry& a, const Entry& b) { return a.sequence->order < b.sequence->order; });
  for (const Entry& each : entries_) {
    plan_.rows.push_back({.id = each.sequence->id,
                          .num_rows = each.num_rows,
                          .num_new_blocks = each.num_new_blocks,
                          .samples = each.num_pending() == 0});
  }
  return std::move(plan_);
}

}  // namespace tutti::schedule
