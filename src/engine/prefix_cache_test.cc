// The prefix cache through the whole engine, on a fake model whose logits depend on every token
// that the cache holds: answers are those of an engine without it, and nobody gets what is not
// their own.
#include <fmt/format.h>

#include <gtest/gtest.h>

#include <map>
#include <random>

#include "engine/engine.h"
#include "tests/support/event_recorder.h"
#include "tests/support/fake_model.h"
#include "tests/support/solo_run.h"

namespace tutti::engine {
namespace {

using testing::EventRecorder;
using testing::FakeModel;
using testing::FakeOps;

constexpr int kMaxModelLen = 256;

class PrefixCacheTest : public ::testing::Test {
 protected:
  void start(const EngineOptions& options) {
    auto started = start_engine(model_, ops_, options);
    ASSERT_TRUE(started.ok()) << started.status().message();
    engine_ = std::move(*started);
  }
  static EngineOptions ample() { return {.num_blocks = 200, .token_budget = 64, .max_running = 8}; }

  std::shared_ptr<EventRecorder> submit(const SequenceRequest& request) {
    auto recorder = std::make_shared<EventRecorder>();
    EventSink sink(recorder);
    const Status status = engine_->submit(request, sink);
    EXPECT_TRUE(status.ok()) << status.message();
    return recorder;
  }
  Usage run(const SequenceRequest& request) {
    const auto recorder = submit(request);
    EXPECT_TRUE(recorder->wait_for_end());
    EXPECT_TRUE(recorder->finished());
    return recorder->finished().value_or(FinishedEvent{}).usage;
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
  static std::vector<TokenId> counting(int count) {
    std::vector<TokenId> tokens(count);
    for (int i = 0; i < count; ++i) tokens[i] = i % 50;
    return tokens;
  }

  FakeModel model_{kMaxModelLen};
  FakeOps ops_{1};
  std::unique_ptr<EngineChannel> engine_;
  std::uint64_t last_id_ = 0;
};

TEST_F(PrefixCacheTest, TellsWhatItHad) {
  start(ample());
  EXPECT_EQ(run(make(counting(100))).cached_tokens, 0);
  EXPECT_EQ(run(make(counting(100))).cached_tokens, 96) << "three full blocks";
  EXPECT_EQ(run(make(counting(50))).cached_tokens, 49) << "part of a block";
  const EngineStats stats = engine_->stats();
  EXPECT_EQ(stats.num_prefix_queries, 250u);
  EXPECT_EQ(stats.num_prefix_hits, 96u + 49);
  EXPECT_EQ(stats.num_prompt_tokens, 105u);
  EXPECT_EQ(stats.num_used_blocks, 0);
  EXPECT_GT(stats.num_cached_blocks, 0);
}

// The one that needs the copy ends with an error; the others, and the engine, go on.
TEST_F(PrefixCacheTest, ACopyThatThrowsEndsOneSequence) {
  int num_copies = 0;
  ops_.on_copy = [&num_copies] {
    if (++num_copies == 1) throw std::runtime_error("no memory");
  };
  start(ample());
  run(make(counting(100)));
  const auto failed = submit(make(counting(50)));
  const auto other = submit(make({1, 2, 3}));
  ASSERT_TRUE(failed->wait_for_end());
  ASSERT_TRUE(failed->failed());
  EXPECT_EQ(failed->failed()->status.kind(), ErrorKind::kInternal);
  ASSERT_TRUE(other->wait_for_end());
  EXPECT_TRUE(other->finished());
  EXPECT_EQ(run(make(counting(50))).cached_tokens, 49);
  EXPECT_EQ(engine_->stats().num_used_blocks, 0);
}

TEST_F(PrefixCacheTest, CanBeTurnedOff) {
  EngineOptions options = ample();
  options.use_prefix_cache = false;
  start(options);
  for (int i = 0; i < 2; ++i) EXPECT_EQ(run(make(counting(100))).cached_tokens, 0);
  EXPECT_EQ(engine_->stats().num_cached_blocks, 0);
  EXPECT_EQ(engine_->stats().num_prefix_queries, 0u);
}

// The time to the first token tells one tenant nothing about another: as many tokens are computed
// whether or not another one has sent the same prompt before.
TEST_F(PrefixCacheTest, WhatOthersCachedMakesNoDifference) {
  start(ample());
  run(make(counting(200), "a"));
  const auto num_computed = [this](const SequenceRequest& request) {
    const std::uint64_t before = engine_->stats().num_prompt_tokens;
    EXPECT_EQ(run(request).cached_tokens, 0);
    return engine_->stats().num_prompt_tokens - before;
  };
  EXPECT_EQ(num_computed(make(counting(200), "b")), 200u);
  SequenceRequest salted = make(counting(200), "a");
  salted.cache_salt = "x";
  EXPECT_EQ(num_computed(salted), 200u);
  // Tenant and salt are not one text.
  SequenceRequest shifted = make(counting(200), "");
  shifted.cache_salt = "ax";
  EXPECT_EQ(num_computed(shifted), 200u);
  EXPECT_GT(run(make(counting(200), "a")).cached_tokens, 190);
}

TEST_F(PrefixCacheTest, SimultaneousRequestsComputeACommonPrefixOnce) {
  EngineOptions options = ample();
  options.max_running = 16;
  start(options);
  std::vector<std::shared_ptr<EventRecorder>> recorders;
  for (int i = 0; i < 10; ++i) {
    std::vector<TokenId> prompt = counting(230);
    prompt.back() = i;
    recorders.push_back(submit(make(prompt)));
  }
  for (const auto& recorder : recorders) ASSERT_TRUE(recorder->wait_for_end());
  // The first has 230 tokens; each other one at most the last block's.
  EXPECT_LE(engine_->stats().num_prompt_tokens, 230u + 9 * kBlockSize);
}

// Each of 64 tenants has a secret that its prompts go on from; the prefixes before are the same for
// all. Under a pool that is always full everybody's answers are those of their own prompts.
TEST_F(PrefixCacheTest, CanariesOf64TenantsStayTheirOwn) {
  for (const bool use_prefix_cache : {true, false}) {
    EngineOptions options;
    options.num_blocks = 24;
    options.token_budget = 64;
    options.max_running = 16;
    options.use_prefix_cache = use_prefix_cache;
    start(options);
    std::mt19937 random(9);
    std::vector<SequenceRequest> requests;
    std::vector<std::shared_ptr<EventRecorder>> recorders;
    for (int round = 0; round < 3; ++round) {
      for (int tenant = 0; tenant < 64; ++tenant) {
        std::vector<TokenId> prompt = counting(40 + static_cast<int>(random() % 60));
        prompt.push_back(tenant % 50);
        prompt.push_back(tenant / 50);
        for (int i = static_cast<int>(random() % 40); i > 0; --i) prompt.push_back(i);
        SequenceRequest request = make(prompt, std::to_string(tenant));
        request.sampling.max_tokens = 20;
        request.sampling.logprobs = true;
        request.sampling.top_logprobs = 3;
        requests.push_back(request);
        recorders.push_back(submit(request));
      }
    }
    for (std::size_t i = 0; i < requests.size(); ++i) {
      ASSERT_TRUE(recorders[i]->wait_for_end());
      const auto tokens = recorders[i]->tokens();
      const auto expected = testing::run_alone(requests[i], kMaxModelLen).tokens;
      ASSERT_EQ(tokens.size(), expected.size());
      for (std::size_t t = 0; t < tokens.size(); ++t) {
        ASSERT_TRUE(testing::same_bits(tokens[t], expected[t])) << "request " << i;
      }
    }
    EXPECT_EQ(engine_->stats().num_used_blocks, 0);
  }
}

// Random conversations that share beginnings, in a pool of any size: the bits are those of each
// request alone.
TEST_F(PrefixCacheTest, SameBitsOnAndOff) {
  std::uint64_t num_hits = 0, num_preemptions = 0;
  for (int seed = 0; seed < 30; ++seed) {
    testing::RandomRequests requests(seed, kMaxModelLen);
    EngineOptions options;
    options.num_blocks = requests.pick(0, 1) ? requests.pick(8, 12) : requests.pick(8, 100);
    options.token_budget = requests.pick(1, 128);
    options.max_running = requests.pick(1, 20);
    start(options);
    std::vector<SequenceRequest> sent;
    std::vector<std::shared_ptr<EventRecorder>> recorders;
    for (int i = 0; i < 25; ++i) {
      SequenceRequest request = requests.make(i);
      if (i > 0 && requests.pick(0, 3) > 0) {
        std::vector<TokenId> prompt = sent[requests.pick(0, i - 1)].prompt;
        prompt.resize(requests.pick(1, static_cast<int>(prompt.size())));
        for (int n = requests.pick(0, 40); n > 0; --n) prompt.push_back(requests.pick(0, 58));
        if (prompt.size() >= kMaxModelLen) prompt.resize(kMaxModelLen - 1);
        request.prompt = prompt;
      }
      request.tenant = requests.pick(0, 2) == 0 ? "a" : "b";
      request.priority = requests.pick(0, 1);
      sent.push_back(request);
      recorders.push_back(submit(request));
      if (requests.pick(0, 2) == 0) recorders[requests.pick(0, i)]->wait_for_end();
    }
    for (std::size_t i = 0; i < sent.size(); ++i) {
      ASSERT_TRUE(recorders[i]->wait_for_end());
      const auto tokens = recorders[i]->tokens();
      const auto expected = testing::run_alone(sent[i], kMaxModelLen).tokens;
      ASSERT_EQ(tokens.size(), expected.size()) << "seed " << seed << ", request " << i;
      for (std::size_t t = 0; t < tokens.size(); ++t) {
        ASSERT_TRUE(testing::same_bits(tokens[t], expected[t]))
            << "seed " << seed << ", request " << i << ", token " << t;
      }
    }
    num_hits += engine_->stats().num_prefix_hits;
    num_preemptions += engine_->stats().num_preemptions;
  }
  EXPECT_GT(num_hits, 1000u);
  EXPECT_GT(num_preemptions, 0u);
}

}  // namespace
}  // namespace tutti::engine
