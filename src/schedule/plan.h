// Decides a step: which rows to run, which blocks to take, whom to preempt and whom to admit.
#pragma once

#include "base/clock.h"
#include "schedule/state.h"
#include "schedule/step_plan.h"

namespace tutti::schedule {

struct StepBudget {
  int num_rows = 0;     // rows a step may hold, >= 1
  int max_running = 0;  // sequences in a batch, >= 1; more than num_rows do not run either
};

// Pure: reads the state, changes nothing. The policy, sequences oldest first:
//   1. A sequence with one token pending (a decode) gets its row; what is left of the budget goes
//      to the pending tokens of the others (prefill chunks), first come first served.
//   2. Blocks are taken when a row needs them. When none is free, the newest running sequence is
//      preempted for an older one, until there is one; the newest itself stalls and keeps what it
//      has. So the oldest is never preempted and has at least one row in every step.
//   3. The head of the queue is admitted when rows are left, nobody stalled or was preempted, and
//      the free blocks hold all its tokens, the pending tokens of the running, and one more block
//      for each running sequence to grow into. Nobody overtakes it.
// A step is empty only when no sequence is open, given that each one's tokens fit in the pool.
StepPlan plan(const State& state, const StepBudget& budget, TimePoint now);

}  // namespace tutti::schedule
