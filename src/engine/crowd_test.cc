// Random crowds on a fake model: whatever company, pool, budget and cancellations, each sequence's
// tokens and log-probabilities are those it gets alone, and it ends once.
#include <gtest/gtest.h>

#include <thread>

#include "engine/engine.h"
#include "tests/support/event_recorder.h"
#include "tests/support/fake_model.h"
#include "tests/support/solo_run.h"

namespace tutti::engine {
namespace {

using testing::EventRecorder;
using testing::FakeModel;
using testing::FakeOps;
using testing::RandomRequests;

constexpr int kMaxModelLen = 192;  // 6 blocks

EngineOptions random_options(RandomRequests& random) {
  return {.max_model_len = kMaxModelLen,
          .num_blocks = random.pick(0, 2) ? random.pick(6, 10) : random.pick(6, 120),
          .token_budget = random.pick(1, 256),
          .max_running = random.pick(1, 40)};
}

// Returns how many preemptions there were.
std::uint64_t run_crowd(int seed, int num_sequences) {
  RandomRequests crowd(seed, kMaxModelLen);
  FakeModel model(kMaxModelLen);
  FakeOps ops(1 + seed % 2);
  auto started = start_engine(model, ops, random_options(crowd));
  EXPECT_TRUE(started.ok());
  const std::unique_ptr<EngineChannel> engine = std::move(*started);

  std::vector<SequenceRequest> requests;
  std::vector<std::shared_ptr<EventRecorder>> recorders;
  std::vector<bool> may_be_cancelled;
  for (int i = 0; i < num_sequences; ++i) {
    requests.push_back(crowd.make(i));
    recorders.push_back(std::make_shared<EventRecorder>());
    may_be_cancelled.push_back(false);
    EventSink sink(recorders[i]);
    EXPECT_TRUE(engine->submit(requests[i], sink).ok());
    if (crowd.pick(0, 4) == 0) {
      std::this_thread::sleep_for(std::chrono::microseconds(crowd.pick(1, 300)));
    }
    if (crowd.pick(0, 7) == 0) {
      const int victim = crowd.pick(0, i);
      may_be_cancelled[victim] = true;
      engine->cancel(SequenceId(victim));
    }
  }
  for (int i = 0; i < num_sequences; ++i) {
    EXPECT_TRUE(recorders[i]->wait_for_end()) << "sequence " << i;
    EXPECT_EQ(recorders[i]->num_ends(), 1);
    EXPECT_FALSE(recorders[i]->has_gap());
    const testing::SoloRun expected = testing::run_alone(requests[i], kMaxModelLen);
    const std::vector<TokenEvent> tokens = recorders[i]->tokens();
    if (const auto finished = recorders[i]->finished()) {
      EXPECT_EQ(finished->reason, expected.reason);
      EXPECT_EQ(tokens.size(), expected.tokens.size());
    } else {
      EXPECT_TRUE(may_be_cancelled[i]) << recorders[i]->failed()->status.message();
    }
    EXPECT_LE(tokens.size(), expected.tokens.size());
    for (std::size_t t = 0; t < std::min(tokens.size(), expected.tokens.size()); ++t) {
      EXPECT_TRUE(testing::same_bits(tokens[t], expected.tokens[t]))
          << "sequence " << i << " token " << t;
    }
  }
  EXPECT_EQ(engine->stats().num_used_blocks, 0);
  EXPECT_EQ(engine->stats().num_running + engine->stats().num_waiting, 0);
  return engine->stats().num_preemptions;
}

TEST(Crowd, EachGetsWhatItGetsAlone) {
  std::uint64_t num_preemptions = 0;
  for (int seed = 0; seed < 60; ++seed) {
    SCOPED_TRACE(seed);
    num_preemptions += run_crowd(seed, 40);
    if (HasFailure()) return;
  }
  EXPECT_GT(num_preemptions, 20u) << "the pools are too large to test preemption";
}

// An engine that takes over goes on as the one before it would have: from any token on.
TEST(Crowd, GoesOnFromWhatWasGeneratedBefore) {
  FakeModel model(kMaxModelLen);
  FakeOps ops(2);
  RandomRequests crowd(11, kMaxModelLen);
  auto started = start_engine(model, ops, random_options(crowd));
  ASSERT_TRUE(started.ok());
  for (int i = 0; i < 400; ++i) {
    SequenceRequest request = crowd.make(i);
    const testing::SoloRun expected = testing::run_alone(request, kMaxModelLen);
    const int num_before = crowd.pick(0, static_cast<int>(expected.tokens.size()));
    for (int t = 0; t < num_before; ++t) request.generated.push_back(expected.tokens[t].token);
    const int num_prompt_tokens = static_cast<int>(request.prompt.size());
    auto recorder = std::make_shared<EventRecorder>(num_before);
    EventSink sink(recorder);
    ASSERT_TRUE((*started)->submit(std::move(request), sink).ok());
    ASSERT_TRUE(recorder->wait_for_end());
    EXPECT_FALSE(recorder->has_gap()) << "sequence " << i;
    const std::vector<TokenEvent> tokens = recorder->tokens();
    ASSERT_EQ(tokens.size() + num_before, expected.tokens.size()) << "sequence " << i;
    for (std::size_t t = 0; t < tokens.size(); ++t) {
      EXPECT_TRUE(testing::same_bits(tokens[t], expected.tokens[num_before + t]));
    }
    const auto finished = recorder->finished();
    ASSERT_TRUE(finished);
    EXPECT_EQ(finished->reason, expected.reason);
    EXPECT_EQ(finished->usage.prompt_tokens, num_prompt_tokens);
    const int num_ends = expected.reason == FinishReason::kStop ? 1 : 0;
    EXPECT_EQ(finished->usage.completion_tokens,
              static_cast<int>(expected.tokens.size()) + num_ends);
  }
}

}  // namespace
}  // namespace tutti::engine
