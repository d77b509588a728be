#include "engine/engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <condition_variable>
#include <mutex>
#include <thread>

#include "tests/support/event_recorder.h"
#include "tests/support/fake_model.h"

namespace tutti::engine {
namespace {

using std::chrono::milliseconds;
using testing::EventRecorder;
using testing::fake_logits;
using testing::FakeModel;
using testing::FakeOps;
using ::testing::HasSubstr;

SequenceRequest make_request(std::uint64_t id, std::vector<TokenId> prompt, int max_tokens) {
  SequenceRequest request;
  request.id = SequenceId(id);
  request.prompt = std::move(prompt);
  request.sampling.temperature = 0;
  request.sampling.max_tokens = max_tokens;
  return request;
}

// The greedy continuation, without an engine.
std::vector<TokenId> greedy(std::vector<TokenId> tokens, int count) {
  std::vector<TokenId> generated;
  for (int i = 0; i < count; ++i) {
    const std::vector<float> logits = fake_logits(tokens);
    const auto best = std::max_element(logits.begin(), logits.end()) - logits.begin();
    generated.push_back(static_cast<TokenId>(best));
    tokens.push_back(generated.back());
  }
  return generated;
}

// Lets the engine's forward passes through one by one.
class Gate {
 public:
  void wait_in_forward() {
    std::unique_lock lock(mutex_);
    ++num_arrived_;
    changed_.notify_all();
    changed_.wait(lock, [this] { return is_open_ || num_allowed_ > 0; });
    if (!is_open_) --num_allowed_;
  }
  void allow(int count) {
    const std::lock_guard lock(mutex_);
    num_allowed_ += count;
    changed_.notify_all();
  }
  void open() {
    const std::lock_guard lock(mutex_);
    is_open_ = true;
    changed_.notify_all();
  }
  // The n-th forward pass has begun.
  void wait_for_arrival(int n) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return num_arrived_ >= n; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int num_arrived_ = 0, num_allowed_ = 0;
  bool is_open_ = false;
};

class EngineTest : public ::testing::Test {
 protected:
  void start(EngineOptions options) {
    auto started = start_engine(model_, ops_, options);
    ASSERT_TRUE(started.ok()) << started.status().message();
    engine_ = std::move(*started);
  }
  // Options under which nothing is scarce.
  static EngineOptions ample() { return {.num_blocks = 64, .token_budget = 64, .max_running = 8}; }

  std::shared_ptr<EventRecorder> submit(SequenceRequest request) {
    auto recorder = std::make_shared<EventRecorder>();
    EventSink sink(recorder);
    const Status status = engine_->submit(std::move(request), sink);
    EXPECT_TRUE(status.ok()) << status.message();
    return recorder;
  }
  Status refusal(SequenceRequest request) {
    auto recorder = std::make_shared<EventRecorder>();
    EventSink sink(recorder);
    const Status status = engine_->submit(std::move(request), sink);
    EXPECT_FALSE(status.ok());
    EXPECT_FALSE(sink.ended()) << "the sink is the caller's when a sequence is refused";
    return status;
  }
  FinishedEvent finished(EventRecorder& recorder) {
    EXPECT_TRUE(recorder.wait_for_end());
    EXPECT_TRUE(recorder.finished().has_value());
    EXPECT_FALSE(recorder.has_gap());
    EXPECT_EQ(engine_->stats().num_used_blocks, 0);
    return recorder.finished().value_or(FinishedEvent{});
  }
  FailedEvent failed(EventRecorder& recorder) {
    EXPECT_TRUE(recorder.wait_for_end());
    EXPECT_TRUE(recorder.failed().has_value());
    return recorder.failed().value_or(FailedEvent{Status(ErrorKind::kInternal, "none"), {}});
  }

  FakeModel model_{1024};
  FakeOps ops_;
  std::unique_ptr<EngineChannel> engine_;
};

TEST_F(EngineTest, GeneratesUpToMaxTokens) {
  start(ample());
  const std::vector<TokenId> prompt = {1, 2, 3};
  const auto recorder = submit(make_request(1, prompt, 100));
  const FinishedEvent end = finished(*recorder);
  EXPECT_EQ(recorder->token_ids(), greedy(prompt, 100));
  EXPECT_EQ(end.reason, FinishReason::kLength);
  EXPECT_EQ(end.stop_token, -1);
  EXPECT_EQ(end.usage.prompt_tokens, 3);
  EXPECT_EQ(end.usage.completion_tokens, 100);
  EXPECT_GE(end.timings.queued.count(), 0);
  EXPECT_GT(end.timings.prefill.count(), 0);
  EXPECT_GT(end.timings.decode.count(), 0);
}

// A step of any length is seen to get on by the pieces of its work, before it ends.
TEST_F(EngineTest, ProgressGrowsWithinAStep) {
  std::vector<std::uint64_t> seen;
  model_.on_forward = [&](std::span<const model::BatchSequence>) {
    for (int i = 0; i < 3; ++i) {
      ops_.pool().run([](int) {});
      seen.push_back(engine_->progress());
    }
  };
  start(ample());
  finished(*submit(make_request(1, {1, 2, 3}, 1)));
  ASSERT_EQ(seen.size(), 3u);
  EXPECT_LT(seen[0], seen[1]);
  EXPECT_LT(seen[1], seen[2]);
}

TEST_F(EngineTest, EndsAtAnEndTokenWithoutSendingIt) {
  start(ample());
  const std::vector<TokenId> prompt = {4, 5};
  const std::vector<TokenId> tokens = greedy(prompt, 20);
  const auto first = std::find(tokens.begin(), tokens.end(), tokens[10]) - tokens.begin();
  for (const bool is_models_own : {true, false}) {
    SequenceRequest request = make_request(is_models_own, prompt, 20);
    (is_models_own ? request.end_tokens : request.sampling.stop_token_ids) = {tokens[10]};
    const auto recorder = submit(request);
    const FinishedEvent end = finished(*recorder);
    EXPECT_EQ(recorder->token_ids(), std::vector<TokenId>(tokens.begin(), tokens.begin() + first));
    EXPECT_EQ(end.reason, FinishReason::kStop);
    EXPECT_EQ(end.stop_token, tokens[10]);
    EXPECT_EQ(end.usage.completion_tokens, first + 1);
  }
}

TEST_F(EngineTest, IgnoresEndTokensWhenAsked) {
  start(ample());
  const std::vector<TokenId> prompt = {4, 5};
  SequenceRequest request = make_request(1, prompt, 20);
  request.end_tokens = {greedy(prompt, 1)[0]};
  request.sampling.ignore_eos = true;
  const auto recorder = submit(request);
  EXPECT_EQ(finished(*recorder).reason, FinishReason::kLength);
  EXPECT_EQ(recorder->token_ids(), greedy(prompt, 20));
}

TEST_F(EngineTest, DoesNotEndBeforeMinTokens) {
  start(ample());
  SequenceRequest request = make_request(1, {4, 5}, 200);
  for (TokenId token = 0; token < 50; ++token) request.end_tokens.push_back(token);
  request.sampling.min_tokens = 30;
  const auto recorder = submit(request);
  const FinishedEvent end = finished(*recorder);
  EXPECT_EQ(end.reason, FinishReason::kStop);
  EXPECT_GE(recorder->tokens().size(), 30u);
}

TEST_F(EngineTest, EndsWhenTheContextIsFull) {
  EngineOptions options = ample();
  options.max_model_len = 50;
  start(options);
  EXPECT_EQ(engine_->max_model_len(), 50);
  const auto recorder = submit(make_request(1, std::vector<TokenId>(49, 7), 100));
  EXPECT_EQ(finished(*recorder).reason, FinishReason::kLength);
  EXPECT_EQ(recorder->tokens().size(), 1u);
}

TEST_F(EngineTest, EndsAtOnceWhenNoTokenIsWanted) {
  start(ample());
  const auto recorder = submit(make_request(1, {1, 2}, 0));
  const FinishedEvent end = finished(*recorder);
  EXPECT_EQ(end.reason, FinishReason::kLength);
  EXPECT_EQ(end.usage.prompt_tokens, 2);
  EXPECT_TRUE(recorder->tokens().empty());
}

TEST_F(EngineTest, RefusesWhatItCannotRun) {
  EngineOptions options = ample();
  options.max_model_len = 100;
  start(options);
  const Status too_long = refusal(make_request(1, std::vector<TokenId>(100, 7), 10));
  EXPECT_EQ(too_long.kind(), ErrorKind::kInvalidArgument);
  EXPECT_THAT(too_long.message(), HasSubstr("100 tokens"));
  EXPECT_THAT(too_long.message(), HasSubstr("100 positions"));
  EXPECT_EQ(refusal(make_request(1, {}, 10)).field(), "prompt");
  EXPECT_THAT(refusal(make_request(1, {3, 61}, 10)).message(), HasSubstr("token 61"));
  EXPECT_THAT(refusal(make_request(1, {-1}, 10)).message(), HasSubstr("token -1"));
  SequenceRequest biased = make_request(1, {1}, 10);
  biased.sampling.logit_bias = {{61, 1.0f}};
  EXPECT_EQ(refusal(biased).field(), "logit_bias");
}

TEST_F(EngineTest, RefusesOptionsThatAreOutOfRange) {
  const auto refused_field = [&](auto change) {
    EngineOptions options = ample();
    change(options);
    const auto started = start_engine(model_, ops_, options);
    EXPECT_FALSE(started.ok());
    return started.ok() ? "" : started.status().field();
  };
  EXPECT_EQ(refused_field([](EngineOptions& o) { o.max_model_len = 1025; }), "max_model_len");
  EXPECT_EQ(refused_field([](EngineOptions& o) { o.max_model_len = 1; }), "max_model_len");
  EXPECT_EQ(refused_field([](EngineOptions& o) { o.num_blocks = 31; }), "num_blocks");
  EXPECT_EQ(refused_field([](EngineOptions& o) { o.token_budget = 0; }), "token_budget");
  EXPECT_EQ(refused_field([](EngineOptions& o) { o.max_running = 0; }), "max_running");
  EXPECT_EQ(refused_field([](EngineOptions& o) { o.max_waiting = 0; }), "max_waiting");
}

TEST_F(EngineTest, RefusesBeyondMaxWaiting) {
  Gate gate;
  model_.on_forward = [&](auto) { gate.wait_in_forward(); };
  EngineOptions options = ample();
  options.max_running = 1;
  options.max_waiting = 3;
  start(options);
  // One runs and three wait, whether the engine has come to look at them or not.
  std::vector<std::shared_ptr<EventRecorder>> recorders;
  for (int i = 0; i <= 3; ++i) recorders.push_back(submit(make_request(i, {1}, 5)));
  EXPECT_EQ(refusal(make_request(9, {1}, 5)).kind(), ErrorKind::kOverloaded);
  gate.wait_for_arrival(1);
  EXPECT_EQ(refusal(make_request(9, {1}, 5)).kind(), ErrorKind::kOverloaded);
  gate.allow(1);
  gate.wait_for_arrival(2);
  EXPECT_EQ(refusal(make_request(9, {1}, 5)).kind(), ErrorKind::kOverloaded);
  EXPECT_EQ(engine_->stats().num_waiting, 3);
  EXPECT_EQ(engine_->stats().num_running, 1);
  gate.open();
  for (const auto& recorder : recorders) {
    ASSERT_TRUE(recorder->wait_for_end());
    EXPECT_EQ(recorder->token_ids(), greedy({1}, 5));
  }
}

TEST_F(EngineTest, RefusesAnIdThatIsOpen) {
  Gate gate;
  model_.on_forward = [&](auto) { gate.wait_in_forward(); };
  start(ample());
  const auto recorder = submit(make_request(1, {1}, 5));
  EXPECT_EQ(refusal(make_request(1, {2}, 5)).field(), "id");
  gate.open();
  finished(*recorder);
  finished(*submit(make_request(1, {2}, 5)));  // and is free again after the end
}

TEST_F(EngineTest, CancelsInTheQueue) {
  Gate gate;
  model_.on_forward = [&](auto) { gate.wait_in_forward(); };
  EngineOptions options = ample();
  options.max_running = 1;
  start(options);
  const auto running = submit(make_request(1, {1}, 5));
  gate.wait_for_arrival(1);
  const auto waiting = submit(make_request(2, {2}, 5));
  engine_->cancel(SequenceId(2));
  engine_->cancel(SequenceId(77));  // unknown: ignored
  gate.open();
  const FailedEvent end = failed(*waiting);
  EXPECT_EQ(end.status.kind(), ErrorKind::kCancelled);
  EXPECT_EQ(end.usage.prompt_tokens, 1);
  finished(*running);
  EXPECT_EQ(running->tokens().size(), 5u);
  EXPECT_TRUE(waiting->tokens().empty());
}

TEST_F(EngineTest, CancelsInPrefillAndInDecode) {
  model_.on_forward = [](auto) { std::this_thread::sleep_for(milliseconds(2)); };
  EngineOptions options = ample();
  options.token_budget = 1;
  start(options);
  for (const std::size_t prompt_length : {900u, 1u}) {  // 900 steps of prefill; or decode at once
    const auto recorder = submit(make_request(1, std::vector<TokenId>(prompt_length, 3), 1000));
    while (engine_->stats().num_used_blocks == 0) std::this_thread::yield();
    if (prompt_length == 1) {
      ASSERT_TRUE(recorder->wait_for_tokens(3));
    }
    const TimePoint start = SteadyClock::now();
    engine_->cancel(SequenceId(1));
    EXPECT_EQ(failed(*recorder).status.kind(), ErrorKind::kCancelled);
    EXPECT_EQ(engine_->stats().num_used_blocks, 0);
    EXPECT_LT(SteadyClock::now() - start, milliseconds(250));
    EXPECT_EQ(recorder->tokens().empty(), prompt_length == 900);
  }
}

// A receiver may call the engine back.
TEST_F(EngineTest, CancelsFromWithinAnEvent) {
  struct Canceller : EventReceiver {
    void receive(Event event) override {
      if (std::holds_alternative<TokenEvent>(event)) engine->cancel(SequenceId(1));
      if (std::holds_alternative<FailedEvent>(event)) ended.notify_all_at_end();
    }
    struct Flag {
      void notify_all_at_end() {
        value = true;
        value.notify_all();
      }
      std::atomic<bool> value{false};
    } ended;
    EngineChannel* engine = nullptr;
  };
  start(ample());
  auto canceller = std::make_shared<Canceller>();
  canceller->engine = engine_.get();
  EventSink sink(canceller);
  ASSERT_TRUE(engine_->submit(make_request(1, {1}, 1000), sink).ok());
  canceller->ended.value.wait(false);
}

TEST_F(EngineTest, StoppingEndsEverySequence) {
  Gate gate;
  model_.on_forward = [&](auto) { gate.wait_in_forward(); };
  EngineOptions options = ample();
  options.max_running = 2;
  start(options);
  std::vector<std::shared_ptr<EventRecorder>> recorders;
  for (int i = 0; i < 6; ++i) recorders.push_back(submit(make_request(i, {1}, 1000)));
  gate.wait_for_arrival(1);
  for (int i = 6; i < 9; ++i) recorders.push_back(submit(make_request(i, {1}, 1000)));
  gate.open();
  engine_.reset();
  for (const auto& recorder : recorders) {
    EXPECT_EQ(recorder->num_ends(), 1);
    EXPECT_EQ(failed(*recorder).status.kind(), ErrorKind::kCancelled);
  }
}

TEST_F(EngineTest, OneSequencesFailureIsItsOwn) {
  start(ample());
  std::vector<std::shared_ptr<EventRecorder>> good;
  for (int i = 0; i < 3; ++i) good.push_back(submit(make_request(i, {1, i}, 200)));
  const auto nan = submit(make_request(10, {1, testing::kNanToken, 2}, 50));
  const auto thrower = submit(make_request(11, {1, testing::kThrowToken, 2}, 50));
  EXPECT_THAT(failed(*nan).status.message(), HasSubstr("not finite"));
  EXPECT_EQ(failed(*thrower).status.kind(), ErrorKind::kInternal);
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(good[i]->wait_for_end());
    EXPECT_EQ(good[i]->token_ids(), greedy({1, i}, 200));
  }
  EXPECT_EQ(engine_->stats().num_used_blocks, 0);
}

TEST_F(EngineTest, CountsWhatItDoes) {
  EngineOptions options = ample();
  options.target_itl = Duration::zero();  // prompts fill the token budget
  start(options);
  finished(*submit(make_request(1, std::vector<TokenId>(100, 7), 10)));
  const EngineStats stats = engine_->stats();
  EXPECT_EQ(stats.num_prompt_tokens, 100u);
  EXPECT_EQ(stats.num_generation_tokens, 10u);
  EXPECT_EQ(stats.num_steps, 11u);  // 64 + 36 rows, the second gives a token, then nine decodes
  EXPECT_EQ(stats.num_blocks, 64);
  EXPECT_EQ(stats.num_running, 0);
  EXPECT_GT(stats.last_token_time, TimePoint{});
}

}  // namespace
}  // namespace tutti::engine
