#include "schedule/plan.h"

#include <gtest/gtest.h>

#include "schedule/state.h"

namespace tutti::schedule {
namespace {

const TimePoint kStart{};
constexpr SequenceId kA{1}, kB{2}, kC{3};

// Plans, applies and advances one step, and samples a token wherever one can be sampled.
StepPlan step(State& state, const StepBudget& budget) {
  StepPlan planned = plan(state, budget, kStart);
  state.apply(planned);
  for (const PlannedRows& rows : planned.rows) {
    state.advance(rows);
    if (rows.samples) state.append_token(rows.id);
  }
  state.check_invariants();
  return planned;
}

TEST(Plan, IsEmptyWithoutSequences) {
  const State state(4);
  EXPECT_EQ(plan(state, {.num_rows = 8, .max_running = 4}, kStart), StepPlan{});
}

TEST(Plan, SplitsALongPromptIntoChunks) {
  State state(8);
  state.add(kA, 70, kStart);
  const StepBudget budget{.num_rows = 32, .max_running = 4};
  EXPECT_EQ(step(state, budget).rows, (std::vector<PlannedRows>{{kA, 32, 1, false}}));
  EXPECT_EQ(step(state, budget).rows, (std::vector<PlannedRows>{{kA, 32, 1, false}}));
  EXPECT_EQ(step(state, budget).rows, (std::vector<PlannedRows>{{kA, 6, 1, true}}));
  EXPECT_EQ(step(state, budget).rows, (std::vector<PlannedRows>{{kA, 1, 0, true}}));
}

TEST(Plan, DecodesHaveTheirRowsBeforeChunks) {
  State state(64);
  const StepBudget budget{.num_rows = 16, .max_running = 4};
  state.add(kA, 40, kStart);
  step(state, budget);
  state.add(kB, 3, kStart);
  // B waits until A's prompt leaves rows for it, then the decode of A and then of B go on beside
  // C's prompt.
  step(state, budget);
  EXPECT_EQ(step(state, budget).rows,
            (std::vector<PlannedRows>{{kA, 8, 1, true}, {kB, 3, 1, true}}));
  state.add(kC, 100, kStart);
  EXPECT_EQ(step(state, budget).rows,
            (std::vector<PlannedRows>{{kA, 1, 0, true}, {kB, 1, 0, true}, {kC, 14, 1, false}}));
}

TEST(Plan, ANewerDecodeKeepsItsRowBesideAnOlderPrompt) {
  State state(64);
  state.add(kA, 100, kStart);
  state.add(kB, 1, kStart);  // one pending token: a decode from the start
  const StepBudget budget{.num_rows = 101, .max_running = 4};
  state.apply(plan(state, budget, kStart));  // admitted; the forward pass failed
  EXPECT_EQ(plan(state, {.num_rows = 8, .max_running = 4}, kStart).rows,
            (std::vector<PlannedRows>{{kA, 7, 0, false}, {kB, 1, 0, true}}));
}

TEST(Plan, NobodyOvertakesTheHeadOfTheQueue) {
  State state(4);
  const StepBudget budget{.num_rows = 64, .max_running = 4};
  state.add(kA, 40, kStart);
  step(state, budget);
  state.add(kB, 100, kStart);  // 4 blocks: does not fit beside A
  state.add(kC, 1, kStart);    // would
  EXPECT_EQ(step(state, budget).rows, (std::vector<PlannedRows>{{kA, 1, 0, true}}));
  state.remove(kA);
  EXPECT_EQ(step(state, budget).admitted, (std::vector<SequenceId>{kB}));
}

TEST(Plan, PreemptsTheNewestWhenAnOlderOneNeedsABlock) {
  State state(4);
  const StepBudget budget{.num_rows = 64, .max_running = 4};
  state.add(kA, 31, kStart);
  state.add(kB, 29, kStart);
  while (state.sequence(kA).num_computed_tokens < 64) {
    ASSERT_TRUE(step(state, budget).preempted.empty()) << "four blocks hold 64 positions of both";
  }
  const StepPlan planned = step(state, budget);
  EXPECT_EQ(planned.preempted, (std::vector<SequenceId>{kB}));
  EXPECT_EQ(planned.rows, (std::vector<PlannedRows>{{kA, 1, 1, true}}));
  EXPECT_EQ(state.sequence(kB).num_computed_tokens, 0);
  EXPECT_EQ(state.sequence(kB).num_tokens, 63) << "what was generated is kept";
  EXPECT_EQ(state.counters().num_preemptions, 1u);
}

TEST(Plan, TheNewestStallsAndKeepsWhatItHas) {
  State state(4);
  const StepBudget budget{.num_rows = 64, .max_running = 4};
  state.add(kA, 29, kStart);
  state.add(kB, 31, kStart);
  while (state.sequence(kB).num_computed_tokens < 64) step(state, budget);
  ASSERT_EQ(state.pool().num_free(), 0);
  state.add(kC, 1, kStart);
  const StepPlan planned = step(state, budget);  // B finds no block for its 65th position
  EXPECT_EQ(planned.rows, (std::vector<PlannedRows>{{kA, 1, 0, true}}));
  EXPECT_TRUE(planned.preempted.empty());
  EXPECT_TRUE(planned.admitted.empty());
  EXPECT_EQ(state.sequence(kB).num_computed_tokens, 64);
  state.remove(kA);
  EXPECT_EQ(step(state, budget).rows.front(), (PlannedRows{kB, 1, 1, true}));
}

TEST(State, CountsWhatIsComputedAgain) {
  State state(3);
  const StepBudget budget{.num_rows = 64, .max_running = 4};
  state.add(kA, 20, kStart);
  state.add(kB, 5, kStart);
  step(state, budget);
  EXPECT_EQ(state.counters().num_prompt_tokens, 25u);
  while (state.counters().num_preemptions == 0) step(state, budget);
  const int num_lost_tokens = state.sequence(kB).max_computed_tokens;
  EXPECT_GT(num_lost_tokens, 5);
  EXPECT_EQ(state.counters().num_recomputed_tokens, 0u);
  state.remove(kA);
  step(state, budget);
  EXPECT_EQ(state.counters().num_recomputed_tokens, static_cast<std::uint64_t>(num_lost_tokens));
  EXPECT_EQ(state.counters().num_prompt_tokens, 25u);
}

}  // namespace
}  // namespace tutti::schedule
