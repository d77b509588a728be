#include "schedule/state.h"

#include <algorithm>
#include <unordered_set>

#include "base/check.h"

namespace tutti::schedule {

void State::add(SequenceId id, int num_prompt_tokens, TimePoint submitted_at,
                int num_generated_tokens) {
  TUTTI_CHECK(num_prompt_tokens >= 1) << "sequence " << id.value << " without a prompt";
  Sequence sequence;
  sequence.id = id;
  sequence.order = next_order_++;
  sequence.num_prompt_tokens = num_prompt_tokens;
  sequence.num_tokens = num_prompt_tokens + num_generated_tokens;
  sequence.submitted_at = submitted_at;
  const bool is_new = sequences_.emplace(id, std::move(sequence)).second;
  TUTTI_CHECK(is_new) << "sequence " << id.value << " is open already";
  waiting_.push_back(id);
}

void State::apply(const StepPlan& plan) {
  for (const SequenceId id : plan.preempted) preempt(id);
  for (const SequenceId id : plan.admitted) admit(id);
  for (const PlannedRows& rows : plan.rows) {
    Sequence& sequence = sequences_.at(rows.id);
    if (!sequence.first_run_at) sequence.first_run_at = plan.planned_at;
    const auto blocks = pool_.take(rows.num_new_blocks);
    TUTTI_CHECK(blocks) << rows.num_new_blocks << " blocks planned, " << pool_.num_free()
                        << " free";
    sequence.block_table.append(*blocks);
    TUTTI_CHECK(sequence.num_computed_tokens + rows.num_rows <= sequence.block_table.capacity());
  }
}

void State::advance(const PlannedRows& rows) {
  Sequence& sequence = sequences_.at(rows.id);
  const int first = sequence.num_computed_tokens;
  const int end = first + rows.num_rows;
  TUTTI_CHECK(end <= sequence.num_tokens && end <= sequence.block_table.capacity());
  const int first_new = std::max(first, std::min(end, sequence.max_computed_tokens));
  counters_.num_recomputed_tokens += first_new - first;
  counters_.num_prompt_tokens +=
      std::min(end, sequence.num_prompt_tokens) - std::min(first_new, sequence.num_prompt_tokens);
  sequence.num_computed_tokens = end;
  sequence.max_computed_tokens = std::max(sequence.max_computed_tokens, end);
}

void State::append_token(SequenceId id) {
  Sequence& sequence = sequences_.at(id);
  TUTTI_CHECK(sequence.num_pending_tokens() == 0) << "sequence " << id.value << " is not computed";
  ++sequence.num_tokens;
}

void State::remove(SequenceId id) {
  const auto found = sequences_.find(id);
  TUTTI_CHECK(found != sequences_.end()) << "sequence " << id.value << " is not open";
  pool_.release(found->second.block_table.take_all());
  sequences_.erase(found);
  if (std::erase(running_, id) == 0) std::erase(waiting_, id);
}

void State::preempt(SequenceId id) {
  TUTTI_CHECK(running_.size() > 1 && running_.back() == id)
      << "sequence " << id.value << " is not the newest of several";
  Sequence& sequence = sequences_.at(id);
  pool_.release(sequence.block_table.take_all());
  sequence.num_computed_tokens = 0;
  running_.pop_back();
  waiting_.push_front(id);
  ++counters_.num_preemptions;
}

void State::admit(SequenceId id) {
  TUTTI_CHECK(!waiting_.empty() && waiting_.front() == id)
      << "sequence " << id.value << " is not the head of the queue";
  waiting_.pop_front();
  running_.push_back(id);
}

void State::check_invariants() const {
  pool_.check_invariants();
  std::vector<SequenceId> order(running_);
  order.insert(order.end(), waiting_.begin(), waiting_.end());
  TUTTI_CHECK(order.size() == sequences_.size()) << "a sequence is lost or listed twice";
  std::unordered_set<BlockId> blocks;
  for (std::size_t i = 0; i < order.size(); ++i) {
    const Sequence& each = sequences_.at(order[i]);
    TUTTI_CHECK(i == 0 || sequences_.at(order[i - 1]).order < each.order)
        << "sequence " << each.id.value << " is out of order";
    TUTTI_CHECK(each.num_computed_tokens <= each.num_tokens);
    TUTTI_CHECK(each.num_computed_tokens <= each.block_table.capacity());
    TUTTI_CHECK(i < running_.size() ||
                (each.block_table.num_blocks() == 0 && each.num_computed_tokens == 0))
        << "sequence " << each.id.value << " waits and holds blocks";
    for (const BlockId block : each.block_table.blocks()) {
      TUTTI_CHECK(blocks.insert(block).second) << "block " << block.value << " is in two tables";
    }
  }
  TUTTI_CHECK(static_cast<int>(blocks.size()) == pool_.num_used()) << "blocks are lost";
}

}  // namespace tutti::schedule
