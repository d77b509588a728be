// Decides a step: which rows to run, which blocks to take, whom to preempt and whom to admit.
#pragma once

#include <limits>
#include <optional>
#include <unordered_set>

#include "base/clock.h"
#include "schedule/cost_model.h"
#include "schedule/state.h"
#include "schedule/step_plan.h"

namespace tutti::schedule {

struct StepBudget {
  int num_rows = 0;     // rows a step may hold, >= 1
  int max_running = 0;  // sequences in a batch, >= 1; more than num_rows do not run either
  int max_prefill_rows = std::numeric_limits<int>::max();  // of them, rows of prompts, >= 1
  StepCosts costs{};                                       // what a step takes
  bool bounds_seconds = false;                             // false: a step may take any time
  // Between two tokens of a sequence; nullopt: see step_seconds_limit.
  std::optional<double> target_seconds;
  double spent_seconds = 0;  // of the step, on other things for prompts
  // Waiting sequences that are not to be admitted in this step.
  std::unordered_set<SequenceId> held_back;
};

// What a step may take when decodes alone take `floor_seconds` (0: there are none): the target or
// twice the floor, whichever is larger, so that prompts get half of the time at least. Twice a
// floor over 100 ms would make the step too long to be cancelled in time: the factor falls to 1.5
// there. Without a target it is 2.7 times the floor, but 1 ms at least and 100 ms at most.
double step_seconds_limit(std::optional<double> target_seconds, double floor_seconds);

// What a step may spend on prompts, in seconds, before anything is spent; infinite when the budget
// does not bound them.
double prompt_seconds_limit(const State& state, const StepBudget& budget);

// Pure: reads the state, changes nothing. The policy:
//   1. The oldest open sequence is never preempted and has a row in every step, so every sequence
//      ends after finitely many, whatever comes after it. If it waits it is admitted first.
//   2. Each running sequence with one pending token (a decode) gets its row.
//   3. What is left of the budget, in rows and in seconds, goes to pending prompts, running or
//      waiting: smaller priority first, then the tenant that was served least, then short ones
//      before much longer ones, then the oldest.
//   4. Blocks are taken when a row needs them. When none is left, the least deserving running
//      sequence behind the one in need gives its blocks back: larger priority, then the tenant that
//      was served most among those that have another one running, then the newest. If it is itself
//      the last it stalls and keeps what it has.
//   5. A waiting sequence is admitted when all running ones and it will find blocks to their
//      expected ends. Nobody overtakes one that does not fit. One of a smaller priority, or of a
//      tenant that has nothing running beside one that has several, displaces the least deserving.
//   6. A sequence whose next block is just being computed by another one waits for it.
//   7. A sequence that is held back is not admitted, though it be the oldest.
// A step is empty only when no sequence is open that is not held back, given that each one's tokens
// fit in the pool.
StepPlan plan(const State& state, const StepBudget& budget, TimePoint now);

// The work of a plan that was made of this state, before it is applied.
StepWork work_of(const State& state, const StepPlan& plan);

}  // namespace tutti::schedule
