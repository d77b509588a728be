// Deadlines and cancellation while the engine is busy.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "engine/engine.h"
#include "tests/support/event_recorder.h"
#include "tests/support/fake_model.h"

namespace tutti::engine {
namespace {

using std::chrono::milliseconds;
using testing::EventRecorder;
using testing::FakeModel;
using testing::FakeOps;
using ::testing::HasSubstr;

SequenceRequest make(std::uint64_t id, int num_prompt_tokens, int max_tokens) {
  SequenceRequest request;
  request.id = SequenceId(id);
  request.prompt.resize(num_prompt_tokens, 7);
  request.prompt[0] = static_cast<TokenId>(id % 50);
  request.sampling.temperature = 0;
  request.sampling.max_tokens = max_tokens;
  return request;
}

class DeadlineTest : public ::testing::Test {
 protected:
  void start(const EngineOptions& options) {
    auto started = start_engine(model_, ops_, options);
    ASSERT_TRUE(started.ok()) << started.status().message();
    engine_ = std::move(*started);
  }
  std::shared_ptr<EventRecorder> submit(const SequenceRequest& request) {
    auto recorder = std::make_shared<EventRecorder>();
    EventSink sink(recorder);
    const Status status = engine_->submit(request, sink);
    EXPECT_TRUE(status.ok()) << status.message();
    return recorder;
  }
  void expect_deadline_exceeded(EventRecorder& recorder) {
    ASSERT_TRUE(recorder.wait_for_end());
    ASSERT_TRUE(recorder.failed());
    EXPECT_EQ(recorder.failed()->status.kind(), ErrorKind::kDeadlineExceeded);
  }
  // A machine that takes a millisecond for each row.
  void make_rows_slow() {
    model_.on_forward = [](std::span<const model::BatchSequence> batch) {
      std::size_t num_rows = 0;
      for (const auto& sequence : batch) num_rows += sequence.tokens.size();
      std::this_thread::sleep_for(milliseconds(num_rows));
    };
  }

  FakeModel model_{8192};
  FakeOps ops_{1};
  std::unique_ptr<EngineChannel> engine_;
};

TEST_F(DeadlineTest, OneThatPassesEndsTheSequenceAndFreesItsBlocks) {
  model_.on_forward = [](auto) { std::this_thread::sleep_for(milliseconds(2)); };
  start({.num_blocks = 256, .max_running = 1});
  SequenceRequest decoding = make(1, 3, 8000);
  decoding.deadline = SteadyClock::now() + milliseconds(60);
  SequenceRequest waiting = make(2, 3, 8000);
  waiting.deadline = SteadyClock::now() + milliseconds(60);
  const auto first = submit(decoding);
  const auto second = submit(waiting);
  expect_deadline_exceeded(*first);
  expect_deadline_exceeded(*second);
  EXPECT_GT(first->tokens().size(), 0u);
  EXPECT_GT(first->failed()->usage.completion_tokens, 0);
  EXPECT_TRUE(second->tokens().empty());
  EXPECT_EQ(engine_->stats().num_used_blocks, 0);
  EXPECT_EQ(engine_->stats().num_waiting + engine_->stats().num_running, 0);
  EXPECT_GT(first->failed()->timings.decode, milliseconds(20));
  EXPECT_GT(second->failed()->timings.queued, milliseconds(40));
  EXPECT_EQ(second->failed()->timings.prefill, Duration{}) << "it came to no step";
}

TEST_F(DeadlineTest, OneThatIsPastIsRefused) {
  start({.num_blocks = 256});
  SequenceRequest request = make(1, 3, 10);
  request.deadline = SteadyClock::now() - milliseconds(1);
  EventSink sink(std::make_shared<EventRecorder>());
  EXPECT_EQ(engine_->submit(request, sink).kind(), ErrorKind::kDeadlineExceeded);
  EXPECT_FALSE(sink.ended());
  sink.fail({Status(ErrorKind::kCancelled, "not used"), {}});
}

TEST_F(DeadlineTest, OneThatCannotBeMetEndsAtOnce) {
  make_rows_slow();
  start({.num_blocks = 512});
  ASSERT_TRUE(submit(make(1, 600, 4))->wait_for_end());  // the costs become known
  EXPECT_NEAR(engine_->stats().prompt_tokens_per_second, 900, 250);
  SequenceRequest request = make(2, 5000, 4);  // five seconds
  request.deadline = SteadyClock::now() + milliseconds(1500);
  const TimePoint begin = SteadyClock::now();
  const auto recorder = submit(request);
  expect_deadline_exceeded(*recorder);
  EXPECT_LT(SteadyClock::now() - begin, milliseconds(1000));
  EXPECT_THAT(recorder->failed()->status.message(), HasSubstr("first token"));
  // One whose prompt the cache has is in time.
  SequenceRequest cached = make(3, 600, 4);
  cached.prompt[0] = 1;
  cached.deadline = SteadyClock::now() + milliseconds(400);
  const auto met = submit(cached);
  ASSERT_TRUE(met->wait_for_end());
  EXPECT_TRUE(met->finished());
}

// A machine on which 512 rows take half a second: steps stay short, so that a cancellation is done
// within 250 ms in the queue, while a prompt is computed and while tokens are.
TEST_F(DeadlineTest, CancellationIsQuickInEveryPhase) {
  make_rows_slow();
  start({.num_blocks = 512, .max_running = 2});
  ASSERT_TRUE(submit(make(1, 600, 4))->wait_for_end());
  const auto decoding = submit(make(2, 3, 8000));
  ASSERT_TRUE(decoding->wait_for_tokens(1));
  const auto prefilling = submit(make(3, 8000, 4));
  const auto waiting = submit(make(4, 100, 4));
  std::this_thread::sleep_for(milliseconds(300));
  for (const auto& [id, recorder] : {std::pair{4, waiting}, {3, prefilling}, {2, decoding}}) {
    const TimePoint begin = SteadyClock::now();
    engine_->cancel(SequenceId(id));
    ASSERT_TRUE(recorder->wait_for_end());
    EXPECT_LT(SteadyClock::now() - begin, milliseconds(250)) << "sequence " << id;
    EXPECT_EQ(recorder->failed()->status.kind(), ErrorKind::kCancelled);
  }
  const auto failed = prefilling->failed();
  ASSERT_TRUE(failed);
  const Timings timings = failed->timings;
  EXPECT_GT(timings.prefill, milliseconds(100));
  EXPECT_LT(timings.queued, milliseconds(280)) << "what it waited is no part of its prefill";
  EXPECT_EQ(timings.decode, Duration{});
  EXPECT_EQ(engine_->stats().num_used_blocks, 0);
  EXPECT_EQ(engine_->stats().num_pending_prompt_tokens, 0u);
}

TEST_F(DeadlineTest, AFullQueueSaysWhenToComeBack) {
  EXPECT_EQ(seconds_to_a_place({}), 1);
  EngineStats stats;
  stats.num_waiting = 30;
  stats.ended_per_second = 0.5;
  EXPECT_EQ(seconds_to_a_place(stats), 2);
  stats.unavailable_for = std::chrono::seconds(3);
  EXPECT_EQ(seconds_to_a_place(stats), 5) << "and until there is an engine";
  stats.ended_per_second = 1e-6;
  EXPECT_EQ(seconds_to_a_place(stats), 600);
}

}  // namespace
}  // namespace tutti::engine
