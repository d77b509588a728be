// What the scheduler knows: the open sequences as counts, who runs, who waits, and the blocks.
//
// Thread safety: owned by the engine's thread. No tokens, no device, no clock.
// Invariants (check_invariants() verifies all of it):
//   running and waiting together hold every sequence once, in the order they were added, and
//   every running one is older than every waiting one;
//   a waiting sequence holds no blocks and has nothing computed;
//   a block is in one table only; the tables hold exactly the used blocks of the pool.
#pragma once

#include <deque>
#include <optional>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "cache/block_pool.h"
#include "cache/block_table.h"
#include "core/ids.h"
#include "schedule/step_plan.h"

namespace tutti::schedule {

struct Sequence {
  SequenceId id;
  std::uint64_t order = 0;  // of submission
  int num_prompt_tokens = 0;
  int num_tokens = 0;           // prompt and generated
  int num_computed_tokens = 0;  // positions [0, n) have keys and values in the blocks
  // The most it ever had computed: what is below and not computed now was lost to preemption.
  int max_computed_tokens = 0;
  cache::BlockTable block_table;
  TimePoint submitted_at;
  std::optional<TimePoint> first_run_at;  // the first step that held a row of it

  int num_pending_tokens() const { return num_tokens - num_computed_tokens; }
};

// Counters only grow.
struct Counters {
  std::uint64_t num_prompt_tokens = 0;      // computed for the first time
  std::uint64_t num_recomputed_tokens = 0;  // computed again after a preemption
  std::uint64_t num_preemptions = 0;
};

class State {
 public:
  explicit State(int num_blocks) : pool_(num_blocks) {}

  // Oldest first.
  const std::vector<SequenceId>& running() const { return running_; }
  const std::deque<SequenceId>& waiting() const { return waiting_; }
  const Sequence& sequence(SequenceId id) const { return sequences_.at(id); }
  bool contains(SequenceId id) const { return sequences_.contains(id); }
  const cache::BlockPool& pool() const { return pool_; }
  const Counters& counters() const { return counters_; }

  // A new sequence, the last in the queue. `id` must not be open.
  void add(SequenceId id, int num_prompt_tokens, TimePoint submitted_at);

  // Carries out what a plan of this very state says before the forward pass: preempts, admits,
  // takes blocks. Computed lengths stay.
  void apply(const StepPlan& plan);

  // The forward pass has computed these rows of an applied plan.
  void advance(const PlannedRows& rows);

  // A token was sampled for a sequence that has all its tokens computed.
  void append_token(SequenceId id);

  // The sequence has ended, in whatever phase: its blocks go back.
  void remove(SequenceId id);

  void check_invariants() const;

 private:
  void preempt(SequenceId id);
  void admit(SequenceId id);

  std::unordered_map<SequenceId, Sequence> sequences_;
  std::vector<SequenceId> running_;
  std::deque<SequenceId> waiting_;
  cache::BlockPool pool_;
  Counters counters_;
  std::uint64_t next_order_ = 0;
};

}  // namespace tutti::schedule
