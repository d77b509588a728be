#include "schedule/plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>
#include <set>

#include "schedule/state.h"

namespace tutti::schedule {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

const TimePoint kStart{};
constexpr SequenceId kA{1}, kB{2}, kC{3};

// A sequence whose tokens are its own, unless `first_token` is that of another one: token i is
// first_token + i.
NewSequence make(SequenceId id, int num_prompt_tokens, int max_new_tokens = 1000) {
  NewSequence sequence;
  sequence.id = id;
  sequence.tokens.resize(num_prompt_tokens);
  std::iota(sequence.tokens.begin(), sequence.tokens.end(), static_cast<int>(id.value) * 100000);
  sequence.num_prompt_tokens = num_prompt_tokens;
  sequence.max_num_tokens = num_prompt_tokens + max_new_tokens;
  return sequence;
}

NewSequence with_tokens_of(SequenceId other, NewSequence sequence) {
  std::iota(sequence.tokens.begin(), sequence.tokens.end(), static_cast<int>(other.value) * 100000);
  return sequence;
}

class PlanTest : public ::testing::Test {
 protected:
  void start(int num_blocks, bool use_prefix_cache = true) {
    state_.emplace(StateOptions{.num_blocks = num_blocks, .use_prefix_cache = use_prefix_cache});
  }
  State& state() { return *state_; }
  void add(SequenceId id, int num_prompt_tokens, int max_new_tokens = 1000) {
    state().add(make(id, num_prompt_tokens, max_new_tokens));
  }

  // Plans, applies and advances one step, and samples a token wherever one can be sampled.
  StepPlan step(const StepBudget& budget) {
    StepPlan planned = plan(state(), budget, kStart);
    copies_ = state().apply(planned);
    for (const PlannedRows& rows : planned.rows) {
      state().advance(rows);
      if (rows.samples) state().append_token(rows.id, next_token_++);
    }
    state().check_invariants();
    return planned;
  }
  void end(SequenceId id) {
    state().learn_length(id);
    state().remove(id);
  }

  std::optional<State> state_;
  std::vector<BlockCopy> copies_;
  TokenId next_token_ = 1;
};

std::vector<SequenceId> admitted(const StepPlan& planned) {
  std::vector<SequenceId> ids;
  for (const Admission& each : planned.admitted) ids.push_back(each.id);
  return ids;
}

TEST_F(PlanTest, IsEmptyWithoutSequences) {
  start(4);
  EXPECT_EQ(plan(state(), {.num_rows = 8, .max_running = 4}, kStart), StepPlan{});
}

TEST_F(PlanTest, SplitsALongPromptIntoChunks) {
  start(64);
  add(kA, 70);
  const StepBudget budget{.num_rows = 32, .max_running = 4};
  EXPECT_THAT(step(budget).rows, ElementsAre(PlannedRows{kA, 32, 1, false}));
  EXPECT_THAT(step(budget).rows, ElementsAre(PlannedRows{kA, 32, 1, false}));
  EXPECT_THAT(step(budget).rows, ElementsAre(PlannedRows{kA, 6, 1, true}));
  EXPECT_THAT(step(budget).rows, ElementsAre(PlannedRows{kA, 1, 0, true}));
}

TEST_F(PlanTest, DecodesHaveTheirRowsBeforePrompts) {
  start(200);
  const StepBudget budget{.num_rows = 16, .max_running = 4};
  add(kA, 10);
  add(kB, 3);
  step(budget);
  add(kC, 100);
  EXPECT_THAT(step(budget).rows,
              ElementsAre(PlannedRows{kA, 1, 0, true}, PlannedRows{kB, 1, 0, true},
                          PlannedRows{kC, 14, 1, false}));
}

TEST_F(PlanTest, NobodyOvertakesTheHeadOfTheQueue) {
  start(4);
  const StepBudget budget{.num_rows = 64, .max_running = 4};
  add(kA, 40, 80);
  step(budget);
  add(kB, 100, 10);  // 4 blocks: does not fit beside A
  add(kC, 1, 1);     // would
  EXPECT_THAT(step(budget).admitted, IsEmpty());
  state().remove(kA);
  EXPECT_THAT(admitted(step(budget)), ElementsAre(kB));
}

TEST_F(PlanTest, PreemptsTheNewestWhenAnOlderOneNeedsABlock) {
  start(4, false);
  const StepBudget budget{.num_rows = 64, .max_running = 4};
  add(kA, 31, 64);
  add(kB, 29, 34);
  step(budget);
  while (state().sequence(kA).num_computed_tokens < 64) {
    ASSERT_THAT(step(budget).preempted, IsEmpty()) << "four blocks hold 64 positions of both";
  }
  const StepPlan planned = step(budget);
  EXPECT_THAT(planned.preempted, ElementsAre(kB));
  EXPECT_THAT(planned.rows, ElementsAre(PlannedRows{kA, 1, 1, true}));
  EXPECT_EQ(state().sequence(kB).num_computed_tokens, 0);
  EXPECT_EQ(state().sequence(kB).num_tokens(), 63) << "what was generated is kept";
  EXPECT_EQ(state().counters().num_preemptions, 1u);
}

TEST_F(PlanTest, TheLastStallsAndKeepsWhatItHas) {
  start(4, false);
  const StepBudget budget{.num_rows = 64, .max_running = 4};
  add(kA, 29, 34);
  add(kB, 31, 64);
  for (int i = 0; i < 100 && state().sequence(kB).num_computed_tokens < 64; ++i) step(budget);
  ASSERT_EQ(state().pool().num_available(), 0);
  add(kC, 1);
  const StepPlan planned = step(budget);  // B finds no block for its 65th position
  EXPECT_THAT(planned.rows, ElementsAre(PlannedRows{kA, 1, 0, true}));
  EXPECT_THAT(planned.preempted, IsEmpty());
  EXPECT_THAT(planned.admitted, IsEmpty());
  EXPECT_EQ(state().sequence(kB).num_computed_tokens, 64);
  state().remove(kA);
  EXPECT_EQ(step(budget).rows.front(), (PlannedRows{kB, 1, 1, true}));
}

TEST_F(PlanTest, CountsWhatIsComputedAgain) {
  start(3, false);
  const StepBudget budget{.num_rows = 64, .max_running = 4};
  add(kA, 20, 60);
  add(kB, 5, 20);
  step(budget);
  EXPECT_EQ(state().counters().num_prompt_tokens, 25u);
  for (int i = 0; i < 100 && state().counters().num_preemptions == 0; ++i) step(budget);
  const int num_lost_tokens = state().sequence(kB).max_computed_tokens;
  EXPECT_GT(num_lost_tokens, 5);
  EXPECT_EQ(state().counters().num_recomputed_tokens, 0u);
  state().remove(kA);
  step(budget);
  EXPECT_EQ(state().counters().num_recomputed_tokens, static_cast<std::uint64_t>(num_lost_tokens));
  EXPECT_EQ(state().counters().num_prompt_tokens, 25u);
}

TEST_F(PlanTest, ASecondSequenceGetsTheFirstOnesBlocks) {
  start(64);
  const StepBudget budget{.num_rows = 200, .max_running = 4};
  add(kA, 100);
  step(budget);
  state().add(with_tokens_of(kA, make(kB, 100)));
  const StepPlan planned = step(budget);
  ASSERT_EQ(planned.admitted.size(), 1u);
  const auto blocks = state().sequence(kA).block_table.blocks();
  EXPECT_THAT(planned.admitted[0].cached_blocks, ElementsAre(blocks[0], blocks[1], blocks[2]));
  EXPECT_EQ(planned.rows.back(), (PlannedRows{kB, 4, 1, true}));
  EXPECT_EQ(state().pool().ref_count(blocks[0]), 2);
  EXPECT_EQ(state().sequence(kB).num_cached_tokens, 96);
  EXPECT_EQ(state().counters().num_prefix_queries, 200u);
  EXPECT_EQ(state().counters().num_prefix_hits, 96u);
}

TEST_F(PlanTest, BlocksOutliveTheirSequenceAndGoTailFirst) {
  start(4);
  const StepBudget budget{.num_rows = 200, .max_running = 4};
  add(kA, 96, 1);
  step(budget);
  end(kA);
  EXPECT_EQ(state().pool().num_used(), 0);
  EXPECT_EQ(state().pool().num_cached(), 3);
  add(kB, 40, 10);  // two blocks: the free one and A's last
  step(budget);
  end(kB);
  state().add(with_tokens_of(kA, make(kC, 96, 1)));
  EXPECT_EQ(step(budget).admitted[0].cached_blocks.size(), 2u);
}

TEST_F(PlanTest, PartOfABlockIsCopied) {
  start(64);
  const StepBudget budget{.num_rows = 200, .max_running = 4};
  add(kA, 64);
  step(budget);
  NewSequence other = with_tokens_of(kA, make(kB, 60));
  other.tokens.back() = 7;
  state().add(other);
  const StepPlan planned = step(budget);
  const auto blocks = state().sequence(kA).block_table.blocks();
  EXPECT_THAT(planned.admitted[0].cached_blocks, ElementsAre(blocks[0]));
  EXPECT_EQ(planned.admitted[0].partial_block, blocks[1]);
  EXPECT_EQ(planned.admitted[0].num_partial, 27);
  EXPECT_EQ(planned.rows.back(), (PlannedRows{kB, 1, 1, true}));
  EXPECT_THAT(copies_, ElementsAre(BlockCopy{
                           blocks[1], state().sequence(kB).block_table.blocks()[1], 27, kB}));
}

TEST_F(PlanTest, TheLastTokenIsAlwaysComputed) {
  start(64);
  const StepBudget budget{.num_rows = 200, .max_running = 4};
  add(kA, 64);
  step(budget);
  state().add(with_tokens_of(kA, make(kB, 64)));
  const StepPlan planned = step(budget);
  EXPECT_EQ(planned.admitted[0].num_cached_tokens(), 63);
  EXPECT_EQ(planned.rows.back(), (PlannedRows{kB, 1, 1, true}));
}

TEST_F(PlanTest, SaltsAndTenantsShareNothing) {
  start(64);
  const StepBudget budget{.num_rows = 400, .max_running = 8};
  add(kA, 64);
  step(budget);
  NewSequence salted = with_tokens_of(kA, make(kB, 64));
  salted.cache_salt = "x";
  state().add(salted);
  NewSequence foreign = with_tokens_of(kA, make(kC, 64));
  foreign.tenant = "x";
  state().add(foreign);
  const StepPlan planned = step(budget);
  ASSERT_EQ(planned.admitted.size(), 2u);
  EXPECT_EQ(planned.admitted[0].num_cached_tokens(), 0);
  EXPECT_EQ(planned.admitted[1].num_cached_tokens(), 0);
}

TEST_F(PlanTest, ACommonPrefixIsComputedOnce) {
  start(200);
  const StepBudget budget{.num_rows = 64, .max_running = 8};
  for (int i = 1; i <= 5; ++i) {
    NewSequence sequence = with_tokens_of(kA, make(SequenceId(i), 300, 1));
    sequence.tokens.back() = i;
    state().add(sequence);
  }
  for (int i = 0; i < 12; ++i) step(budget);
  EXPECT_EQ(state().num_waiting(), 0);
  // The first has 300 tokens computed, each of the others 12, the last partial block's.
  EXPECT_LE(state().counters().num_prompt_tokens, 300u + 4 * 12);
}

// The second tier has the first three blocks of what a waiting sequence begins with.
TEST_F(PlanTest, BlocksThatCameBackAreFoundAsIfTheyHadStayed) {
  start(6);
  add(kA, 100);
  const Sequence& sequence = state().sequence(kA);
  std::vector<int> filled;
  const int num_restored = state().restore(sequence, 8, [&](int index, BlockId) {
    filled.push_back(index);
    return index < 2;
  });
  EXPECT_EQ(num_restored, 2);
  EXPECT_THAT(filled, ElementsAre(0, 1, 2));
  state().check_invariants();
  EXPECT_EQ(state().restore(sequence, 0, [](int, BlockId) { return true; }), 0);
  EXPECT_EQ(state().restore(sequence, 8, [](int, BlockId) { return true; }), 1) << "the third";
  EXPECT_EQ(state().restore(sequence, 8, [](int, BlockId) { return true; }), 0)
      << "the last token is always computed";
  const StepPlan planned = step({.num_rows = 64, .max_running = 4});
  ASSERT_EQ(planned.admitted.size(), 1u);
  EXPECT_EQ(planned.admitted[0].num_cached_tokens(), 96);
  EXPECT_EQ(planned.rows[0].num_rows, 4);
  EXPECT_EQ(state().sequence(kA).num_cached_tokens, 96);
}

TEST_F(PlanTest, WhatComesBackTakesNoBlockOfItsOwnPrefix) {
  start(3);
  add(kA, 70);
  EXPECT_EQ(state().restore(state().sequence(kA), 8, [](int, BlockId) { return true; }), 2);
  add(kB, 200);
  std::vector<BlockId> blocks;
  const int num_restored = state().restore(state().sequence(kB), 8, [&](int, BlockId block) {
    blocks.push_back(block);
    return true;
  });
  EXPECT_EQ(num_restored, 3) << "all of the pool";
  EXPECT_EQ(std::set<BlockId>(blocks.begin(), blocks.end()).size(), 3u);
  state().check_invariants();
}

TEST_F(PlanTest, WhoeverIsHeldBackIsNotAdmittedAndOthersAre) {
  start(16);
  add(kA, 10);
  add(kB, 10);
  const StepBudget budget{.num_rows = 64, .max_running = 4, .held_back = {kA}};
  EXPECT_THAT(admitted(step(budget)), ElementsAre(kB));
  end(kB);
  EXPECT_THAT(plan(state(), budget, kStart).rows, IsEmpty()) << "also if it is alone";
  EXPECT_THAT(admitted(step({.num_rows = 64, .max_running = 4})), ElementsAre(kA));
}

// What bringing blocks back took is not there for prompts.
TEST_F(PlanTest, SpentSecondsLeaveFewerRows) {
  start(64);
  add(kA, 1000);
  StepBudget budget{.num_rows = 2000, .max_running = 4};
  budget.bounds_seconds = true;
  budget.costs.per_prefill_row = 0.001;
  const int num_rows = plan(state(), budget, kStart).rows[0].num_rows;
  EXPECT_NEAR(prompt_seconds_limit(state(), budget), 0.001 * num_rows, 0.0011);
  budget.spent_seconds = 0.1;
  EXPECT_NEAR(plan(state(), budget, kStart).rows[0].num_rows, num_rows - 100, 1);
}

TEST(StepSecondsLimit, IsTheTargetOrTwiceTheFloor) {
  EXPECT_DOUBLE_EQ(step_seconds_limit(0.1, 0.01), 0.1);
  EXPECT_DOUBLE_EQ(step_seconds_limit(0.1, 0.08), 0.16);
  EXPECT_DOUBLE_EQ(step_seconds_limit(0.1, 0.12), 0.2);
  EXPECT_DOUBLE_EQ(step_seconds_limit(0.1, 0.2), 0.3);
  EXPECT_DOUBLE_EQ(step_seconds_limit(std::nullopt, 0.0001), 0.001);
  EXPECT_DOUBLE_EQ(step_seconds_limit(std::nullopt, 0.001), 0.0027);
  EXPECT_DOUBLE_EQ(step_seconds_limit(std::nullopt, 0.02), 0.054);
  EXPECT_DOUBLE_EQ(step_seconds_limit(std::nullopt, 0.048), 0.1);
  EXPECT_DOUBLE_EQ(step_seconds_limit(std::nullopt, 0.06), 0.12);
  EXPECT_LT(step_seconds_limit(std::nullopt, 0), 0.2);
}

TEST_F(PlanTest, GeneratedTokensAreFoundAgain) {
  start(64);
  const StepBudget budget{.num_rows = 200, .max_running = 4};
  add(kA, 40, 60);
  while (state().sequence(kA).num_tokens() < 100) step(budget);
  NewSequence next = make(kB, 120, 10);
  std::copy_n(state().sequence(kA).tokens.begin(), 100, next.tokens.begin());
  end(kA);
  state().add(next);
  // 99 tokens have been computed; three full blocks are kept.
  EXPECT_EQ(step(budget).admitted[0].num_cached_tokens(), 96);
}

}  // namespace
}  // namespace tutti::schedule
