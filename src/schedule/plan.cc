#include "schedule/plan.h"

#include <algorithm>

#include "base/check.h"

namespace tutti::schedule {
namespace {

using cache::num_blocks_for;

bool is_decode(const Sequence& sequence) { return sequence.num_pending_tokens() == 1; }

class Planner {
 public:
  Planner(const State& state, const StepBudget& budget, TimePoint now)
      : state_(state),
        max_running_(std::min(budget.max_running, budget.num_rows)),
        num_rows_left_(budget.num_rows),
        num_free_blocks_(state.pool().num_free()) {
    TUTTI_CHECK(budget.num_rows >= 1 && budget.max_running >= 1);
    plan_.planned_at = now;
  }

  StepPlan run() && {
    plan_running();
    if (plan_.preempted.empty() && !has_stalled_) plan_admissions();
    return std::move(plan_);
  }

 private:
  void plan_running() {
    const std::vector<SequenceId>& running = state_.running();
    for (const SequenceId id : running) num_decodes_left_ += is_decode(state_.sequence(id));
    num_kept_ = running.size();
    for (std::size_t i = 0; i < num_kept_; ++i) {
      const Sequence& sequence = state_.sequence(running[i]);
      num_decodes_left_ -= is_decode(sequence);
      const int num_wanted = std::min(sequence.num_pending_tokens(), num_rows_for(i));
      if (num_wanted == 0) continue;
      while (num_coverable_rows(sequence) == 0 && num_kept_ > i + 1) {
        preempt(state_.sequence(running[--num_kept_]));
      }
      const int num_rows = std::min(num_wanted, num_coverable_rows(sequence));
      if (num_rows > 0) {
        add_rows(sequence, num_rows);
      } else {
        has_stalled_ = true;
      }
    }
  }

  void plan_admissions() {
    int num_running = static_cast<int>(state_.running().size());
    int num_promised_blocks = 0;  // pending tokens of the running that have no block yet
    for (const SequenceId id : state_.running()) {
      num_promised_blocks += num_blocks_for(state_.sequence(id).num_tokens) -
                             state_.sequence(id).block_table.num_blocks();
    }
    for (const PlannedRows& rows : plan_.rows) num_promised_blocks -= rows.num_new_blocks;
    for (const SequenceId id : state_.waiting()) {
      if (num_running == max_running_ || num_rows_left_ == 0) break;
      const Sequence& sequence = state_.sequence(id);
      const int num_needed_blocks = num_blocks_for(sequence.num_tokens);
      if (num_free_blocks_ - num_promised_blocks - num_running < num_needed_blocks) break;
      plan_.admitted.push_back(id);
      add_rows(sequence, std::min(sequence.num_pending_tokens(), num_rows_left_));
      num_promised_blocks += num_needed_blocks - plan_.rows.back().num_new_blocks;
      ++num_running;
    }
  }

  // Rows that running()[i] may have: a decode one, a chunk what the decodes after it leave, and the
  // oldest at least one.
  int num_rows_for(std::size_t i) const {
    if (i == 0 || is_decode(state_.sequence(state_.running()[i]))) {
      return std::max(std::min(1, num_rows_left_), num_rows_left_ - num_decodes_left_);
    }
    return std::max(0, num_rows_left_ - num_decodes_left_);
  }

  // Rows whose positions fit into the sequence's blocks and the free ones.
  int num_coverable_rows(const Sequence& sequence) const {
    const int num_blocks = sequence.block_table.num_blocks() + num_free_blocks_;
    return num_blocks * kBlockSize - sequence.num_computed_tokens;
  }

  void add_rows(const Sequence& sequence, int num_rows) {
    const int end = sequence.num_computed_tokens + num_rows;
    const int num_new_blocks = std::max(0, num_blocks_for(end) - sequence.block_table.num_blocks());
    plan_.rows.push_back({.id = sequence.id,
                          .num_rows = num_rows,
                          .num_new_blocks = num_new_blocks,
                          .samples = end == sequence.num_tokens});
    num_free_blocks_ -= num_new_blocks;
    num_rows_left_ -= num_rows;
  }

  void preempt(const Sequence& victim) {
    plan_.preempted.push_back(victim.id);
    num_free_blocks_ += victim.block_table.num_blocks();
    num_decodes_left_ -= is_decode(victim);
  }

  const State& state_;
  const int max_running_;
  int num_rows_left_;
  int num_free_blocks_;
  int num_decodes_left_ = 0;  // decodes not yet planned: their rows are kept for them
  std::size_t num_kept_ = 0;  // running()[num_kept_ ...] is preempted
  bool has_stalled_ = false;  // a running sequence found no block
  StepPlan plan_;
};

}  // namespace

StepPlan plan(const State& state, const StepBudget& budget, TimePoint now) {
  return Planner(state, budget, now).run();
}

}  // namespace tutti::schedule
