// DESIGN.md, promise 1, on the demo model, and for the classes of small integers on a GGUF of four
// bits and one of five: a request's tokens and log-probabilities have the same bits alone and in
// any company, whatever the arrivals, chunks, preemptions, hits in the prefix cache, threads and
// instruction set.
#include <fmt/format.h>

#include <gtest/gtest.h>

#include <filesystem>
#include <random>
#include <thread>

#include "device/ops.h"
#include "engine/engine.h"
#include "formats/model_source.h"
#include "model/description.h"
#include "model/model.h"
#include "tests/support/event_recorder.h"
#include "tests/support/goldens.h"

namespace tutti::engine {
namespace {

using device::ComputeClass;
using device::Isa;
using testing::EventRecorder;

constexpr int kMaxModelLen = 320;  // 10 blocks

struct Machine {
  static Machine make(ComputeClass compute_class, Isa isa, int num_threads,
                      const std::filesystem::path& path = testing::demo_model_dir(),
                      device::KvDtype kv_dtype = device::KvDtype::kAuto) {
    Machine machine;
    auto source = formats::ModelSource::open(path);
    EXPECT_TRUE(source.ok()) << source.status().message();
    machine.source = std::make_unique<formats::ModelSource>(std::move(*source));
    auto ops = device::Ops::create({.compute_class = compute_class,
                                    .isa = isa,
                                    .num_threads = num_threads,
                                    .kv_dtype = kv_dtype});
    EXPECT_TRUE(ops.ok()) << ops.status().message();
    machine.ops = std::move(*ops);
    auto model = model::Model::load(*machine.source, *machine.ops);
    EXPECT_TRUE(model.ok()) << model.status().message();
    machine.model = std::move(*model);
    return machine;
  }

  int vocab_size() const { return model->description().vocab_size; }

  std::unique_ptr<EngineChannel> start(int num_blocks, int token_budget, bool use_prefix_cache) {
    auto engine = start_engine(*model, *ops,
                               {.max_model_len = kMaxModelLen,
                                .num_blocks = num_blocks,
                                .token_budget = token_budget,
                                .max_running = 64,
                                .use_prefix_cache = use_prefix_cache});
    EXPECT_TRUE(engine.ok()) << engine.status().message();
    return std::move(*engine);
  }

  std::unique_ptr<formats::ModelSource> source;
  std::unique_ptr<device::Ops> ops;
  std::unique_ptr<model::Model> model;
};

class Random {
 public:
  Random(int seed, int vocab_size) : engine_(seed), vocab_size_(vocab_size) {}
  int pick(int low, int high) { return std::uniform_int_distribution(low, high)(engine_); }

  SequenceRequest request(int id, int max_prompt_tokens, int max_new_tokens) {
    SequenceRequest request;
    request.id = SequenceId(id);
    request.prompt.resize(pick(1, max_prompt_tokens));
    for (TokenId& token : request.prompt) token = pick(0, vocab_size_ - 1);
    SamplingParams& sampling = request.sampling;
    sampling.max_tokens = pick(1, max_new_tokens);
    sampling.temperature = pick(0, 2) * 0.6;  // a third are greedy
    sampling.seed = engine_();
    if (pick(0, 1)) sampling.top_k = pick(1, 100);
    if (pick(0, 1)) sampling.top_p = 0.01 * pick(50, 99);
    if (pick(0, 1)) sampling.repeat_penalty = 1.1;
    if (pick(0, 1)) sampling.presence_penalty = 0.5;
    sampling.logprobs = true;
    sampling.top_logprobs = 5;
    return request;
  }

 private:
  std::mt19937_64 engine_;
  int vocab_size_;
};

std::shared_ptr<EventRecorder> submit(EngineChannel& engine, const SequenceRequest& request) {
  auto recorder = std::make_shared<EventRecorder>();
  EventSink sink(recorder);
  const Status status = engine.submit(request, sink);
  EXPECT_TRUE(status.ok()) << status.message();
  return recorder;
}

using Answers = std::vector<std::vector<TokenEvent>>;

// Each request on its own, one after the other, every token computed.
Answers answer_alone(Machine& machine, std::span<const SequenceRequest> requests) {
  Answers answers;
  const auto engine = machine.start(64, 512, false);
  for (const SequenceRequest& request : requests) {
    const auto recorder = submit(*engine, request);
    EXPECT_TRUE(recorder->wait_for_end());
    EXPECT_TRUE(recorder->finished()) << recorder->failed()->status.message();
    answers.push_back(recorder->tokens());
  }
  return answers;
}

struct CrowdRun {
  Answers answers;
  std::uint64_t num_preemptions = 0;
  std::uint64_t num_prefix_hits = 0;
};

// All together, arriving at random times, among others that are cancelled at random times.
CrowdRun answer_in_a_crowd(Machine& machine, std::span<const SequenceRequest> requests,
                           int token_budget, Random& random) {
  const auto engine = machine.start(random.pick(10, 16), token_budget, true);
  std::vector<std::shared_ptr<EventRecorder>> recorders;
  int noise_id = 1000;
  for (const SequenceRequest& request : requests) {
    recorders.push_back(submit(*engine, request));
    if (random.pick(0, 5) == 0) submit(*engine, random.request(++noise_id, 60, 60));
    std::this_thread::sleep_for(std::chrono::microseconds(random.pick(0, 4000)));
    if (random.pick(0, 5) == 0) engine->cancel(SequenceId(noise_id));
  }
  CrowdRun run;
  for (const auto& recorder : recorders) {
    EXPECT_TRUE(recorder->wait_for_end(std::chrono::minutes(5)));
    EXPECT_TRUE(recorder->finished()) << recorder->failed()->status.message();
    run.answers.push_back(recorder->tokens());
  }
  run.num_preemptions = engine->stats().num_preemptions;
  run.num_prefix_hits = engine->stats().num_prefix_hits;
  return run;
}

void expect_same_bits(const Answers& expected, const Answers& found) {
  ASSERT_EQ(found.size(), expected.size());
  for (std::size_t i = 0; i < expected.size(); ++i) {
    ASSERT_EQ(found[i].size(), expected[i].size()) << "request " << i;
    for (std::size_t t = 0; t < expected[i].size(); ++t) {
      const TokenEvent &a = expected[i][t], &b = found[i][t];
      ASSERT_EQ(b.token, a.token) << "request " << i << ", token " << t;
      ASSERT_EQ(b.logprob, a.logprob) << "request " << i << ", token " << t;
      ASSERT_EQ(b.top_logprobs.size(), a.top_logprobs.size());
      for (std::size_t n = 0; n < a.top_logprobs.size(); ++n) {
        ASSERT_EQ(b.top_logprobs[n].token, a.top_logprobs[n].token);
        ASSERT_EQ(b.top_logprobs[n].logprob, a.top_logprobs[n].logprob);
      }
    }
  }
}

std::vector<SequenceRequest> make_requests(int count, int max_prompt_tokens, int max_new_tokens,
                                           int vocab_size) {
  Random random(7, vocab_size);
  std::vector<SequenceRequest> requests;
  for (int i = 0; i < count; ++i) {
    requests.push_back(random.request(i, max_prompt_tokens, max_new_tokens));
    // Those that come later displace those before them, so that some are preempted whatever the
    // pool.
    requests[i].priority = -(i % 3);
    if (i % 3 == 0) continue;
    // Begins as the one before, up to some position of any block.
    const std::vector<TokenId>& before = requests[i - 1].prompt;
    std::vector<TokenId>& prompt = requests[i].prompt;
    const int num_common = random.pick(1, static_cast<int>(std::min(before.size(), prompt.size())));
    std::copy_n(before.begin(), num_common, prompt.begin());
  }
  return requests;
}

void expect_same_bits_everywhere(ComputeClass compute_class, const std::filesystem::path& path) {
  const std::vector<Isa> isas = device::available_isas();
  Machine reference = Machine::make(compute_class, isas.back(), 1, path);
  const std::vector<SequenceRequest> requests = make_requests(33, 120, 100, reference.vocab_size());
  const Answers alone = answer_alone(reference, requests);
  std::uint64_t num_preemptions = 0, num_prefix_hits = 0;
  Random random(11, reference.vocab_size());
  for (const Isa isa : isas) {
    // The scalar code is slow: the shortest of the requests stand for all.
    const bool is_slow = isa == Isa::kRef;
    for (const int num_threads : {1, 2}) {
      Machine machine = Machine::make(compute_class, isa, num_threads, path);
      for (const int token_budget : {num_threads == 1 ? 16 : 512, random.pick(17, 128)}) {
        if (is_slow && token_budget == 512) continue;
        SCOPED_TRACE(fmt::format("{}, {} threads, {} rows a step", device::to_string(isa),
                                 num_threads, token_budget));
        std::vector<SequenceRequest> chosen;
        Answers expected;
        for (std::size_t i = 0; i < requests.size(); ++i) {
          if (is_slow && requests[i].prompt.size() + requests[i].sampling.max_tokens > 50) continue;
          chosen.push_back(requests[i]);
          expected.push_back(alone[i]);
        }
        ASSERT_GE(chosen.size(), 3u);
        const CrowdRun run = answer_in_a_crowd(machine, chosen, token_budget, random);
        expect_same_bits(expected, run.answers);
        if (::testing::Test::HasFatalFailure()) return;
        num_preemptions += run.num_preemptions;
        num_prefix_hits += run.num_prefix_hits;
      }
    }
  }
  EXPECT_GT(num_preemptions, 0u) << "the pools are too large to test preemption";
  EXPECT_GT(num_prefix_hits, 100u) << "the prefixes are too short to test the cache";
}

TEST(Promise1, SameBitsInAnyCompanyOnEveryIsaAndThreadCount) {
  expect_same_bits_everywhere(ComputeClass::kBf16, testing::demo_model_dir());
}

TEST(Promise1, HoldsForTheClassesOfSmallIntegers) {
  for (const ComputeClass compute_class : {ComputeClass::kQ8, ComputeClass::kInt8}) {
    for (const char* file : {"gguf/llama-Q4_0.gguf", "gguf/llama-Q5_K.gguf"}) {
      SCOPED_TRACE(fmt::format("{} {}", device::to_string(compute_class), file));
      expect_same_bits_everywhere(compute_class, testing::golden_path(file));
      if (::testing::Test::HasFatalFailure()) return;
    }
  }
}

// Which every class but bf16 and f32 computes the same way.
TEST(Promise1, HoldsForIntegersOfSixAndEightBits) {
  for (const char* file : {"gguf/llama-Q6_K.gguf", "gguf/llama-Q8_0.gguf"}) {
    SCOPED_TRACE(file);
    expect_same_bits_everywhere(ComputeClass::kQ8, testing::golden_path(file));
    if (::testing::Test::HasFatalFailure()) return;
  }
}

TEST(Promise1, HoldsForAnInt8Cache) {
  const auto make = [](int num_threads) {
    return Machine::make(ComputeClass::kBf16, device::available_isas().back(), num_threads,
                         testing::demo_model_dir(), device::KvDtype::kInt8);
  };
  Machine one_thread = make(1);
  const int vocab_size = one_thread.vocab_size();
  const std::vector<SequenceRequest> requests = make_requests(12, 100, 40, vocab_size);
  const Answers alone = answer_alone(one_thread, requests);
  Random random(17, vocab_size);
  Machine two_threads = make(2);
  expect_same_bits(alone, answer_in_a_crowd(two_threads, requests, 33, random).answers);
}

TEST(Promise1, HoldsForTheScalarF32Class) {
  Machine one_thread = Machine::make(ComputeClass::kF32, Isa::kRef, 1);
  const int vocab_size = one_thread.vocab_size();
  const std::vector<SequenceRequest> requests = make_requests(5, 40, 8, vocab_size);
  const Answers alone = answer_alone(one_thread, requests);
  Random random(13, vocab_size);
  Machine two_threads = Machine::make(ComputeClass::kF32, Isa::kRef, 2);
  expect_same_bits(alone, answer_in_a_crowd(two_threads, requests, 16, random).answers);
}

}  // namespace
}  // namespace tutti::engine
