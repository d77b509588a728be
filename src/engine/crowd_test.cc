// Random crowds on a fake model: whatever company, pool, budget and cancellations, each sequence's
// tokens and log-probabilities are those it gets alone, and it ends once.
#include <gtest/gtest.h>

#include <random>
#include <thread>

#include "engine/engine.h"
#include "engine/sampler.h"
#include "tests/support/event_recorder.h"
#include "tests/support/fake_model.h"

namespace tutti::engine {
namespace {

using testing::EventRecorder;
using testing::FakeModel;
using testing::FakeOps;

constexpr int kMaxModelLen = 192;  // 6 blocks

class Crowd {
 public:
  explicit Crowd(int seed) : random_(seed) {}

  int pick(int low, int high) { return std::uniform_int_distribution(low, high)(random_); }

  SequenceRequest random_request(int id) {
    SequenceRequest request;
    request.id = SequenceId(id);
    request.prompt.resize(pick(1, pick(0, 3) ? 30 : kMaxModelLen - 1));
    for (TokenId& token : request.prompt) token = pick(0, 58);
    for (int i = pick(0, 2); i > 0; --i) request.end_tokens.push_back(pick(0, 58));
    SamplingParams& sampling = request.sampling;
    sampling.seed = random_();
    sampling.temperature = pick(0, 3) * 0.5;
    sampling.max_tokens = pick(0, 9) == 0 ? 0 : pick(1, 180);
    sampling.min_tokens = pick(0, 1) * pick(0, 40);
    if (pick(0, 2) == 0) sampling.top_k = pick(1, 70);
    if (pick(0, 2) == 0) sampling.top_p = 0.01 * pick(1, 99);
    if (pick(0, 3) == 0) sampling.typical_p = 0.01 * pick(1, 99);
    if (pick(0, 3) == 0) sampling.min_p = 0.01 * pick(0, 50);
    if (pick(0, 2) == 0) sampling.repeat_penalty = 0.1 * pick(5, 20);
    if (pick(0, 2) == 0) sampling.repeat_last_n = pick(-1, 64);
    if (pick(0, 3) == 0) sampling.frequency_penalty = 0.1 * pick(-20, 20);
    if (pick(0, 3) == 0) sampling.presence_penalty = 0.1 * pick(-20, 20);
    if (pick(0, 3) == 0) sampling.logit_bias = {{pick(0, 58), static_cast<float>(pick(-9, 9))}};
    sampling.logprobs = pick(0, 1) == 1;
    if (sampling.logprobs) sampling.top_logprobs = pick(0, 5);
    return request;
  }

  EngineOptions random_options() {
    return {.max_model_len = kMaxModelLen,
            .num_blocks = pick(0, 2) ? pick(6, 10) : pick(6, 120),
            .token_budget = pick(1, 256),
            .max_running = pick(1, 40)};
  }

 private:
  std::mt19937_64 random_;
};

// The sequence computed without an engine, one token after the other.
struct Expected {
  std::vector<TokenEvent> tokens;
  FinishReason reason = FinishReason::kLength;
};
Expected compute_alone(const SequenceRequest& request) {
  Expected expected;
  std::vector<TokenId> tokens = request.prompt;
  SamplerScratch scratch;
  while (static_cast<int>(expected.tokens.size()) < request.sampling.max_tokens &&
         static_cast<int>(tokens.size()) < kMaxModelLen) {
    const TokenHistory history{.tokens = tokens,
                               .num_prompt_tokens = static_cast<int>(request.prompt.size()),
                               .end_tokens = request.end_tokens};
    const SampledToken sampled =
        *sample(request.sampling, history, testing::fake_logits(tokens), scratch);
    if (std::count(request.end_tokens.begin(), request.end_tokens.end(), sampled.token) > 0) {
      expected.reason = FinishReason::kStop;
      break;
    }
    tokens.push_back(sampled.token);
    expected.tokens.push_back({.token = sampled.token,
                               .index = static_cast<int>(expected.tokens.size()),
                               .logprob = sampled.logprob,
                               .top_logprobs = sampled.top_logprobs});
  }
  return expected;
}

bool same_bits(const TokenEvent& a, const TokenEvent& b) {
  const auto same_top = [](const TokenLogprob& x, const TokenLogprob& y) {
    return x.token == y.token && x.logprob == y.logprob;
  };
  return a.token == b.token && a.index == b.index && a.logprob == b.logprob &&
         std::equal(a.top_logprobs.begin(), a.top_logprobs.end(), b.top_logprobs.begin(),
                    b.top_logprobs.end(), same_top);
}

// Returns how many preemptions there were.
std::uint64_t run_crowd(int seed, int num_sequences) {
  Crowd crowd(seed);
  FakeModel model(kMaxModelLen);
  FakeOps ops(1 + seed % 2);
  auto started = start_engine(model, ops, crowd.random_options());
  EXPECT_TRUE(started.ok());
  const std::unique_ptr<EngineChannel> engine = std::move(*started);

  std::vector<SequenceRequest> requests;
  std::vector<std::shared_ptr<EventRecorder>> recorders;
  std::vector<bool> may_be_cancelled;
  for (int i = 0; i < num_sequences; ++i) {
    requests.push_back(crowd.random_request(i));
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
    const Expected expected = compute_alone(requests[i]);
    const std::vector<TokenEvent> tokens = recorders[i]->tokens();
    if (const auto finished = recorders[i]->finished()) {
      EXPECT_EQ(finished->reason, expected.reason);
      EXPECT_EQ(tokens.size(), expected.tokens.size());
    } else {
      EXPECT_TRUE(may_be_cancelled[i]) << recorders[i]->failed()->status.message();
    }
    EXPECT_LE(tokens.size(), expected.tokens.size());
    for (std::size_t t = 0; t < std::min(tokens.size(), expected.tokens.size()); ++t) {
      EXPECT_TRUE(same_bits(tokens[t], expected.tokens[t])) << "sequence " << i << " token " << t;
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

}  // namespace
}  // namespace tutti::engine
