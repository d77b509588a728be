// The second tier of the prefix cache through the whole engine, on a fake model whose logits depend
// on every token that the cache holds.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <atomic>
#include <mutex>
#include <thread>

#include "engine/engine.h"
#include "tests/support/event_recorder.h"
#include "tests/support/fake_model.h"
#include "tests/support/memory_storage.h"
#include "tests/support/solo_run.h"

namespace tutti::engine {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using testing::EventRecorder;
using testing::FakeModel;
using testing::FakeOps;

constexpr int kMaxModelLen = 1024;

class SpillTest : public ::testing::Test {
 protected:
  SpillTest() {
    // Computing a block takes 1.6 ms at least, which reading one should not.
    model_.on_forward = [](std::span<const model::BatchSequence> batch) {
      std::size_t num_rows = 0;
      for (const auto& each : batch) num_rows += each.tokens.size();
      std::this_thread::sleep_for(microseconds(50) * num_rows);
    };
  }
  // With a tier whose bytes outlive the engine.
  void start(EngineOptions options, bool with_tier = true) {
    engine_ = nullptr;
    options.max_model_len = max_model_len_;
    if (with_tier) {
      options.spill = SpillOptions{.file = {},
                                   .max_bytes = std::size_t{8} << 20,
                                   .identity = "fake",
                                   .open_storage = [bytes = bytes_] {
                                     return Result<std::unique_ptr<cache::SpillStorage>>(
                                         std::make_unique<testing::MemoryStorage>(bytes));
                                   }};
    }
    auto started = start_engine(model_, ops_, options);
    ASSERT_TRUE(started.ok()) << started.status().message();
    engine_ = std::move(*started);
  }
  // A pool for one sequence of 256 positions and one block.
  static EngineOptions small() { return {.num_blocks = 9, .token_budget = 64, .max_running = 8}; }

  std::shared_ptr<EventRecorder> submit(const SequenceRequest& request) {
    auto recorder = std::make_shared<EventRecorder>();
    EventSink sink(recorder);
    const Status status = engine_->submit(request, sink);
    EXPECT_TRUE(status.ok()) << status.message();
    return recorder;
  }
  // Runs a request; its tokens must be those of a run without any engine.
  Usage run(const SequenceRequest& request) {
    const auto recorder = submit(request);
    return check(request, *recorder);
  }
  Usage check(const SequenceRequest& request, EventRecorder& recorder) {
    EXPECT_TRUE(recorder.wait_for_end());
    EXPECT_TRUE(recorder.finished());
    const auto tokens = recorder.tokens();
    const auto expected = testing::run_alone(request, max_model_len_).tokens;
    EXPECT_EQ(tokens.size(), expected.size());
    for (std::size_t t = 0; t < std::min(tokens.size(), expected.size()); ++t) {
      EXPECT_TRUE(testing::same_bits(tokens[t], expected[t])) << "token " << t;
    }
    return recorder.finished().value_or(FinishedEvent{}).usage;
  }
  SequenceRequest make(std::vector<TokenId> prompt, const std::string& tenant = "") {
    SequenceRequest request;
    request.id = SequenceId(++last_id_);
    request.prompt = std::move(prompt);
    request.tenant = tenant;
    request.sampling.temperature = 0;
    request.sampling.max_tokens = 4;
    return request;
  }
  static std::vector<TokenId> counting(int count, int first = 0) {
    std::vector<TokenId> tokens(count);
    for (int i = 0; i < count; ++i) tokens[i] = (first + i) % 50;
    return tokens;
  }
  // Takes all of a small pool.
  void fill_pool() { run(make(counting(250, 7), "filler")); }
  std::uint64_t num_computed() const { return engine_->stats().num_prompt_tokens; }

  int max_model_len_ = 256;
  FakeModel model_{kMaxModelLen};
  FakeOps ops_{1};
  std::shared_ptr<testing::SpillBytes> bytes_ = std::make_shared<testing::SpillBytes>();
  std::unique_ptr<EngineChannel> engine_;
  std::uint64_t last_id_ = 0;
};

// An agent's conversation, whose blocks are all evicted between two turns.
TEST_F(SpillTest, AConversationComputesItsNewTokensAndABlockATurn) {
  start(small());
  std::vector<TokenId> conversation = counting(40);
  std::uint64_t num_computed_before = 0;
  for (int turn = 0; turn < 20; ++turn) {
    const auto num_known = turn == 0 ? 0 : conversation.size() - 7;
    num_computed_before = num_computed();
    const SequenceRequest request = make(conversation);
    const auto recorder = submit(request);
    check(request, *recorder);
    const std::uint64_t num_new = conversation.size() - num_known;
    EXPECT_LE(num_computed() - num_computed_before, num_new + kBlockSize) << "turn " << turn;
    for (const TokenEvent& each : recorder->tokens()) conversation.push_back(each.token);
    for (int i = 0; i < 3; ++i) conversation.push_back((turn + i) % 50);
    fill_pool();
  }
  EXPECT_GT(engine_->stats().num_spill_reads, 20u);
}

TEST_F(SpillTest, OutlivesTheEngine) {
  start(small());
  EXPECT_EQ(run(make(counting(200))).cached_tokens, 0);
  start(small());
  EXPECT_EQ(engine_->stats().num_spill_blocks, 6);
  EXPECT_EQ(run(make(counting(200))).cached_tokens, 192);
  EXPECT_EQ(engine_->stats().num_spill_reads, 6u);
  EXPECT_EQ(engine_->stats().num_prefix_hits, 192u);
  // As after a crash: the front resumes with what it has been told.
  start(small());
  SequenceRequest resumed = make(counting(100));
  const auto expected = testing::run_alone(resumed, max_model_len_).tokens;
  resumed.generated = {expected[0].token, expected[1].token};
  const auto recorder = submit(resumed);
  ASSERT_TRUE(recorder->wait_for_end());
  EXPECT_EQ(recorder->finished()->usage.cached_tokens, 96);
  ASSERT_EQ(recorder->tokens().size(), 2u);
  EXPECT_TRUE(testing::same_bits(recorder->tokens()[0], expected[2]));
}

// As many tokens are computed as if nobody had sent the same before, in the first tier and in the
// second one: nothing can be told from the time that it takes.
TEST_F(SpillTest, NobodyFindsWhatOthersSpilled) {
  start(small());
  run(make(counting(200), "a"));
  for (int engine = 0; engine < 2; ++engine) {
    fill_pool();
    const std::uint64_t num_reads = engine_->stats().num_spill_reads;
    std::uint64_t before = num_computed();
    EXPECT_EQ(run(make(counting(200), fmt::format("b{}", engine))).cached_tokens, 0);
    EXPECT_EQ(num_computed() - before, 200u);
    SequenceRequest salted = make(counting(200), "a");
    salted.cache_salt = fmt::format("salt{}", engine);
    before = num_computed();
    EXPECT_EQ(run(salted).cached_tokens, 0);
    EXPECT_EQ(num_computed() - before, 200u);
    EXPECT_EQ(engine_->stats().num_spill_reads, num_reads);
    EXPECT_GE(run(make(counting(200), "a")).cached_tokens, 192);
    start(small());
  }
  // Nor does the file tell who has sent it: a tenant may be known by a secret.
  const std::string secret = "a secret of some length";
  run(make(counting(200), secret));
  engine_ = nullptr;
  const auto text = reinterpret_cast<const char*>(bytes_->bytes.data());
  EXPECT_EQ(std::string_view(text, bytes_->bytes.size()).find(secret), std::string_view::npos);
}

// What a preempted sequence has lost comes back from the tier but for its last block, which is not
// full; where reading takes longer than computing, and where there is no tier, it is computed
// again.
TEST_F(SpillTest, APreemptedSequenceIsSwappedOrRecomputedByWhatIsCheaper) {
  std::atomic<EventRecorder*> watched = nullptr;
  std::atomic<bool> is_other_there = false;
  model_.on_forward = [&](auto batch) {
    while (watched && watched.load()->tokens().size() >= 3 && !is_other_there) {
      std::this_thread::sleep_for(microseconds(100));
    }
    // Slow enough that threads which must wait for a core change nothing.
    for (const auto& each : batch) std::this_thread::sleep_for(milliseconds(each.tokens.size()));
  };
  // One that needs most of the pool comes in the middle of the answer of one of less priority.
  const auto preempt_one = [&](bool with_tier) {
    EngineOptions options = small();
    options.num_blocks = 11;
    options.target_itl = Duration::zero();  // what is planned does not depend on the times
    watched = nullptr;
    is_other_there = false;
    start(options, with_tier);
    SequenceRequest oldest = make(counting(60, 3)), victim = make(counting(150)),
                    other = make(counting(250, 7));
    oldest.sampling.max_tokens = 30;
    victim.sampling.max_tokens = 60;
    victim.priority = 1;
    const auto of_oldest = submit(oldest), of_victim = submit(victim);
    watched = of_victim.get();
    EXPECT_TRUE(of_victim->wait_for_tokens(3));
    const auto of_other = submit(other);
    is_other_there = true;
    check(other, *of_other);
    check(victim, *of_victim);
    check(oldest, *of_oldest);
    const EngineStats stats = engine_->stats();
    EXPECT_GE(stats.num_preemptions, 1u);
    return stats;
  };
  const EngineStats swapped = preempt_one(true);
  EXPECT_GE(swapped.num_spill_reads, 4u);
  EXPECT_LE(swapped.num_recomputed_tokens, swapped.num_preemptions * kBlockSize);
  bytes_ = std::make_shared<testing::SpillBytes>();
  bytes_->before_read = [] {
    std::this_thread::sleep_for(milliseconds(300));
    return Status();
  };
  const EngineStats recomputed = preempt_one(true);
  EXPECT_LE(recomputed.num_spill_reads, 1u) << "by which the disk is known";
  EXPECT_GT(recomputed.num_recomputed_tokens, 100u);
  EXPECT_GE(preempt_one(false).num_recomputed_tokens, 150u);
}

// Random conversations in a pool that is always full: the bits are those of each request alone,
// whatever came back from where.
TEST_F(SpillTest, SameBitsInAFullPool) {
  std::uint64_t num_reads = 0, num_preemptions = 0;
  for (int seed = 0; seed < 8; ++seed) {
    testing::RandomRequests requests(seed, max_model_len_);
    EngineOptions options;
    options.num_blocks = requests.pick(8, 14);
    options.token_budget = requests.pick(1, 128);
    options.max_running = requests.pick(1, 20);
    if (requests.pick(0, 1)) bytes_ = std::make_shared<testing::SpillBytes>();
    start(options);
    std::vector<SequenceRequest> sent;
    std::vector<std::shared_ptr<EventRecorder>> recorders;
    for (int i = 0; i < 20; ++i) {
      SequenceRequest request = requests.make(i);
      if (i > 0 && requests.pick(0, 3) > 0) {
        std::vector<TokenId> prompt = sent[requests.pick(0, i - 1)].prompt;
        for (int n = requests.pick(0, 40); n > 0; --n) prompt.push_back(requests.pick(0, 58));
        if (static_cast<int>(prompt.size()) >= max_model_len_) prompt.resize(max_model_len_ - 1);
        request.prompt = prompt;
      }
      request.tenant = std::string(1, requests.pick(0, 2) == 0 ? 'a' : 'b');
      sent.push_back(request);
      recorders.push_back(submit(request));
      if (requests.pick(0, 2) == 0) recorders[requests.pick(0, i)]->wait_for_end();
    }
    for (std::size_t i = 0; i < sent.size(); ++i) check(sent[i], *recorders[i]);
    EXPECT_EQ(engine_->stats().num_used_blocks, 0);
    num_reads += engine_->stats().num_spill_reads;
    num_preemptions += engine_->stats().num_preemptions;
  }
  EXPECT_GT(num_reads, 20u);
  EXPECT_GT(num_preemptions, 0u);
}

// More blocks than a step has time for: the sequence waits for all of them, others go on.
TEST_F(SpillTest, ManyBlocksComeBackOverSeveralSteps) {
  max_model_len_ = kMaxModelLen;
  EngineOptions options{.num_blocks = 64, .token_budget = 256, .max_running = 8};
  start(options);
  run(make(counting(1000)));
  start(options);
  bytes_->before_read = [] {
    std::this_thread::sleep_for(microseconds(300));
    return Status();
  };
  SequenceRequest other = make(counting(10), "other");
  other.sampling.max_tokens = 100;
  const auto recorder = submit(other);
  ASSERT_TRUE(recorder->wait_for_tokens(5));
  EXPECT_EQ(run(make(counting(1000))).cached_tokens, 31 * kBlockSize);
  check(other, *recorder);
}

TEST_F(SpillTest, WhatIsReadMoreSlowlyThanComputedIsComputed) {
  start(small());
  run(make(counting(200)));
  bytes_->before_read = [] {
    std::this_thread::sleep_for(milliseconds(20));
    return Status();
  };
  fill_pool();
  run(make(counting(200)));  // here it is learned
  const std::uint64_t num_reads = engine_->stats().num_spill_reads;
  EXPECT_GT(num_reads, 0u);
  fill_pool();
  EXPECT_LT(run(make(counting(200))).cached_tokens, 64) << "what has stayed in the pool";
  EXPECT_EQ(engine_->stats().num_spill_reads, num_reads);
}

// A disk that stands still in the middle of a read: the sequence waits no longer than computing its
// blocks takes, and the others do not wait.
TEST_F(SpillTest, AReadThatHangsHoldsUpNobody) {
  std::mutex gate;
  start(small());
  run(make(counting(200)));
  fill_pool();
  bytes_->before_read = [&gate] {
    const std::lock_guard lock(gate);
    return Status();
  };
  {
    const std::lock_guard lock(gate);
    SequenceRequest other = make(counting(10), "other"), reading = make(counting(200));
    other.sampling.max_tokens = 20;
    const auto of_other = submit(other), of_reading = submit(reading);
    check(other, *of_other);
    EXPECT_LT(check(reading, *of_reading).cached_tokens, 192);
    EXPECT_EQ(engine_->stats().num_spill_reads, 0u);
    run(make(counting(200)));  // nobody else waits for it again
  }
  fill_pool();
  std::uint64_t num_reads = 0;
  for (int i = 0; i < 200 && num_reads == 0; ++i) {  // in time it is tried again
    run(make(counting(200)));
    fill_pool();
    num_reads = engine_->stats().num_spill_reads;
  }
  EXPECT_GT(num_reads, 0u);
}

// Any error of the disk turns the tier off and disturbs nobody.
TEST_F(SpillTest, ErrorsOfTheDiskAreHarmless) {
  const auto fails = [] { return Status(ErrorKind::kUnavailable, "Input/output error"); };
  for (const bool is_read : {true, false}) {
    bytes_ = std::make_shared<testing::SpillBytes>();
    start(small());
    run(make(counting(200)));
    fill_pool();
    std::atomic<bool> is_broken = true;
    const auto maybe = [&is_broken, fails] { return is_broken ? fails() : Status(); };
    engine_ = nullptr;
    (is_read ? bytes_->before_read : bytes_->before_write) = maybe;
    is_broken = false;
    start(small());
    is_broken = true;
    run(make(counting(220)));
    run(make(counting(200, 3)));
    fill_pool();
    EXPECT_LT(run(make(counting(200, 3))).cached_tokens, 64) << "what has stayed in the pool";
    EXPECT_EQ(engine_->stats().num_spill_blocks, 0);
    engine_ = nullptr;
  }
  // There from the start: the engine goes on without.
  bytes_->before_read = bytes_->before_write = fails;
  bytes_->bytes.clear();
  start(small());
  run(make(counting(100)));
  EXPECT_EQ(engine_->stats().num_spill_writes, 0u);
}

TEST_F(SpillTest, NeedsThePrefixCache) {
  EngineOptions options = small();
  options.max_model_len = max_model_len_;
  options.use_prefix_cache = false;
  options.spill.emplace();
  EXPECT_EQ(start_engine(model_, ops_, options).status().field(), "kv_spill_dir");
}

}  // namespace
}  // namespace tutti::engine
