#include "schedule/cost_model.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

namespace tutti::schedule {
namespace {

constexpr StepCosts kTruth{
    .base = 0.02, .per_decode_row = 0.0005, .per_prefill_row = 0.0004, .per_position = 1e-8};

class Steps {
 public:
  StepWork random_work() {
    StepWork work;
    work.num_decode_rows = pick(0, 32);
    work.num_prefill_rows = pick(0, 1) * pick(2, 256);
    work.num_positions =
        work.num_decode_rows * pick(1, 8000) + 1.0 * work.num_prefill_rows * pick(1, 30000);
    return work;
  }
  int pick(int low, int high) { return std::uniform_int_distribution(low, high)(random_); }
  // Steps vary by a tenth, and one in twenty is disturbed.
  double noisy(double seconds) {
    seconds *= std::uniform_real_distribution(0.95, 1.05)(random_);
    return pick(0, 19) == 0 ? 20 * seconds : seconds;
  }

 private:
  std::mt19937 random_{3};
};

double worst_error(const CostModel& model, const StepCosts& truth) {
  double worst = 0;
  for (const StepWork& work :
       {StepWork{8, 0, 8000}, StepWork{32, 0, 200000}, StepWork{0, 200, 20000},
        StepWork{8, 100, 3e6}, StepWork{1, 0, 100}}) {
    const double expected = truth.seconds_of(work);
    worst = std::max(worst, std::abs(model.costs().seconds_of(work) - expected) / expected);
  }
  return worst;
}

TEST(CostModel, LearnsFromNoisySteps) {
  CostModel model;
  Steps steps;
  for (int i = 0; i < 200; ++i) {
    const StepWork work = steps.random_work();
    model.observe(work, steps.noisy(kTruth.seconds_of(work)));
  }
  EXPECT_LT(worst_error(model, kTruth), 0.3);
}

TEST(CostModel, FollowsAMachineThatBecomesSlower) {
  CostModel model;
  Steps steps;
  StepCosts slower = kTruth;
  slower.base *= 2;
  slower.per_prefill_row *= 3;
  for (int i = 0; i < 600; ++i) {
    const StepWork work = steps.random_work();
    model.observe(work, (i < 200 ? kTruth : slower).seconds_of(work));
  }
  EXPECT_LT(worst_error(model, slower), 0.1);
}

// Prompts alone hide what a step costs at least, for products of many rows read the weights beside
// their multiplications: it is known after a few steps of the first batch that decodes.
TEST(CostModel, LearnsAtOnceWhatItNeverSaw) {
  CostModel model;
  const StepCosts prompts{.per_prefill_row = 0.0002, .per_position = 2e-8};
  for (int position = 0; position < 65536;) {
    const int num_rows = std::clamp(prompts.num_rows_within(0.18, position), 1, 512);
    const StepWork work{0, num_rows, num_rows * (position + num_rows / 2.0)};
    model.observe(work, prompts.seconds_of(work));
    position += num_rows;
  }
  for (int i = 0; i < 10; ++i) model.observe({8, 0, 8.0 * (100 + i)}, 0.008);
  EXPECT_NEAR(model.costs().seconds_of({8, 0, 880}), 0.008, 0.0008);
}

// Steps of two lengths by chance: the expectation is their mean, not the shorter.
TEST(CostModel, ExpectsTheMean) {
  CostModel model;
  Steps steps;
  double sum = 0;
  for (int i = 0; i < 1000; ++i) {
    model.observe({8, 0, 800}, steps.pick(0, 1) == 0 ? 0.01 : 0.02);
    if (i >= 500) sum += model.costs().seconds_of({8, 0, 800});
  }
  EXPECT_NEAR(sum / 500, 0.015, 0.0005);
}

// An hour of nothing but decodes must not make it forget what a prompt costs.
TEST(CostModel, KeepsWhatItDoesNotSee) {
  CostModel model;
  Steps steps;
  for (int i = 0; i < 100; ++i) {
    const StepWork work = steps.random_work();
    model.observe(work, kTruth.seconds_of(work));
  }
  for (int i = 0; i < 20000; ++i) {
    const StepWork work{8, 0, 8.0 * steps.pick(100, 200)};
    model.observe(work, steps.noisy(kTruth.seconds_of(work)));
  }
  const double prefill = model.costs().per_prefill_row;
  EXPECT_GT(prefill, 0.5 * kTruth.per_prefill_row);
  EXPECT_LT(prefill, 2 * kTruth.per_prefill_row);
}

TEST(CostModel, GrowsChunksByExperience) {
  CostModel model;
  EXPECT_EQ(model.max_prefill_rows(), CostModel::kFirstChunk);
  for (int i = 0; i < 4; ++i) model.observe({0, 32, 500}, 0.03);
  EXPECT_EQ(model.max_prefill_rows(), 64);
  model.observe({0, 64, 2000}, 0.04);
  EXPECT_EQ(model.max_prefill_rows(), 128);
}

TEST(StepCosts, RowsWithinATimeTakeNoLonger) {
  for (const int position : {0, 1000, 60000}) {
    for (const double seconds : {0.01, 0.1, 0.5}) {
      const int rows = kTruth.num_rows_within(seconds, position);
      const auto cost = [&](double n) {
        return n * kTruth.per_prefill_row + kTruth.per_position * n * (position + (n + 1) / 2);
      };
      EXPECT_LE(cost(rows), seconds);
      EXPECT_GT(cost(rows + 1), seconds);
    }
  }
  EXPECT_EQ(kTruth.num_rows_within(0, 0), 0);
  EXPECT_GT(StepCosts{}.num_rows_within(1, 0), 100000) << "what costs nothing is not bounded";
}

}  // namespace
}  // namespace tutti::schedule
