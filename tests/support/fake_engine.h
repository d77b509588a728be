// For tests: an engine without a model, and a LoadedModel around it with the demo model's tokenizer
// and template.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <map>
#include <mutex>
#include <thread>

#include "engine/engine.h"
#include "formats/model_source.h"
#include "model/model.h"
#include "store/loaded_model.h"
#include "store/model_text.h"
#include "tests/support/goldens.h"
#include "text/chat_template.h"
#include "text/go_template.h"
#include "text/tokenizer.h"

namespace tutti::server::testing {

// By hand: the test feeds events itself. Running: a thread repeats each sequence's prompt token by
// token, `interval` apart, up to max_tokens; sequences wait while `hold(true)`.
class FakeEngine : public engine::EngineChannel {
 public:
  explicit FakeEngine(int max_model_len = 256) : max_model_len_(max_model_len) {}
  ~FakeEngine() override {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    changed_.notify_all();
    if (thread_.joinable()) thread_.join();
  }

  void run(std::chrono::microseconds interval) {
    interval_ = interval;
    thread_ = std::thread([this] { loop(); });
  }
  void hold(bool held) { held_ = held; }
  void set_max_sequences(std::size_t count) { max_sequences_ = count; }
  // Tells it in stats().
  void set_drain(double ended_per_second, Duration unavailable_for) {
    const std::lock_guard lock(mutex_);
    ended_per_second_ = ended_per_second;
    unavailable_for_ = unavailable_for;
  }

  Status submit(SequenceRequest request, EventSink& sink) override {
    const std::lock_guard lock(mutex_);
    if (sequences_.size() >= max_sequences_) return {ErrorKind::kOverloaded, "the queue is full"};
    submitted_.push_back(request);
    const SequenceId id = request.id;
    sequences_.emplace(id.value, Sequence{std::move(request), std::move(sink)});
    return {};
  }

  void cancel(SequenceId id) override {
    const std::lock_guard lock(mutex_);
    const auto found = sequences_.find(id.value);
    if (found == sequences_.end()) return;
    Sequence sequence = std::move(found->second);
    sequences_.erase(found);
    ++num_cancelled_;
    sequence.sink.fail({Status(ErrorKind::kCancelled, "cancelled"), usage_of(sequence),
                        Timings{std::chrono::seconds(1), std::chrono::seconds(2), {}}});
  }

  engine::EngineStats stats() const override {
    const std::lock_guard lock(mutex_);
    engine::EngineStats stats;
    stats.num_running = static_cast<int>(sequences_.size());
    stats.num_blocks = 100;
    stats.num_used_blocks = stats.num_running;
    stats.num_generation_tokens = num_tokens_;
    stats.ended_per_second = ended_per_second_;
    stats.unavailable_for = unavailable_for_;
    return stats;
  }
  std::uint64_t progress() const override {
    const std::lock_guard lock(mutex_);
    return num_tokens_;
  }
  int max_model_len() const override { return max_model_len_; }

  // By hand; `index` counts submissions.
  void token(std::size_t index, TokenId token) {
    const std::lock_guard lock(mutex_);
    Sequence& sequence = sequences_.at(submitted_.at(index).id.value);
    send_token(sequence, token);
  }
  void finish(std::size_t index, FinishReason reason, TokenId stop_token = -1) {
    const std::lock_guard lock(mutex_);
    end(submitted_.at(index).id.value, reason, stop_token);
  }
  void fail(std::size_t index, Status status) {
    const std::lock_guard lock(mutex_);
    const auto found = sequences_.find(submitted_.at(index).id.value);
    Sequence sequence = std::move(found->second);
    sequences_.erase(found);
    sequence.sink.fail({std::move(status), usage_of(sequence)});
  }

  std::vector<SequenceRequest> submitted() const {
    const std::lock_guard lock(mutex_);
    return submitted_;
  }
  std::size_t num_open() const {
    const std::lock_guard lock(mutex_);
    return sequences_.size();
  }
  int num_cancelled() const { return num_cancelled_; }

 private:
  struct Sequence {
    SequenceRequest request;
    EventSink sink;
    int num_tokens = 0;
  };

  static Usage usage_of(const Sequence& sequence) {
    return {static_cast<int>(sequence.request.prompt.size()), sequence.num_tokens, 0};
  }

  void send_token(Sequence& sequence, TokenId token) {
    ++num_tokens_;
    TokenEvent event;
    event.token = token;
    event.index = sequence.num_tokens++;
    if (sequence.request.sampling.logprobs) {
      event.logprob = -0.5f;
      event.top_logprobs.assign(static_cast<std::size_t>(sequence.request.sampling.top_logprobs),
                                {token, -0.5f});
    }
    sequence.sink.send(std::move(event));
  }

  void end(std::uint64_t id, FinishReason reason, TokenId stop_token) {
    const auto found = sequences_.find(id);
    if (found == sequences_.end()) return;
    Sequence sequence = std::move(found->second);
    sequences_.erase(found);
    FinishedEvent event;
    event.reason = reason;
    event.stop_token = stop_token;
    event.usage = usage_of(sequence);
    sequence.sink.finish(event);
  }

  void step() {
    std::vector<std::uint64_t> ended;
    for (auto& [id, sequence] : sequences_) {
      const auto& prompt = sequence.request.prompt;
      send_token(sequence, prompt[static_cast<std::size_t>(sequence.num_tokens) % prompt.size()]);
      if (sequence.num_tokens >= sequence.request.sampling.max_tokens) ended.push_back(id);
    }
    for (const std::uint64_t id : ended) end(id, FinishReason::kLength, -1);
  }

  void loop() {
    std::unique_lock lock(mutex_);
    while (!stopping_) {
      changed_.wait_for(lock, interval_);
      if (!held_) step();
    }
  }

  const int max_model_len_;
  double ended_per_second_ = 0;
  Duration unavailable_for_{};
  std::size_t max_sequences_ = 1000;
  std::chrono::microseconds interval_{1000};
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::uint64_t, Sequence> sequences_;
  std::vector<SequenceRequest> submitted_;
  std::atomic<bool> held_{false};
  std::atomic<int> num_cancelled_{0};
  std::uint64_t num_tokens_ = 0;
  bool stopping_ = false;
  std::thread thread_;
};

struct TestModel {
  std::shared_ptr<store::LoadedModel> model;
  FakeEngine* engine;  // belongs to the model
};

inline TestModel make_test_model(int max_model_len = 256) {
  auto source =
      formats::ModelSource::open(tutti::testing::demo_model_dir(), formats::ModelParts::kTokenizer);
  EXPECT_TRUE(source.ok()) << source.status().message();
  auto model = std::make_shared<store::LoadedModel>();
  model->source = std::make_unique<formats::ModelSource>(std::move(*source));
  model->tokenizer = std::move(*store::load_tokenizer(*model->source));
  model->chat_template = std::move(*store::load_chat_template(*model->source));
  model->template_variables = store::special_token_variables(*model->tokenizer);
  model->vocab_size = model->tokenizer->vocab_size();
  model->end_tokens = {2};
  model->info.name = "demo:latest";
  model->info.family = "llama";
  auto engine = std::make_unique<FakeEngine>(max_model_len);
  FakeEngine* raw = engine.get();
  model->engine = std::move(engine);
  return {std::move(model), raw};
}

}  // namespace tutti::server::testing
