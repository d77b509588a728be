#include "server/generation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "tests/support/fake_engine.h"

namespace tutti::server {
namespace {

using testing::FakeEngine;
using testing::make_test_model;
using testing::TestModel;

class GenerationTest : public ::testing::Test {
 protected:
  Request text_request(const std::string& text, int n = 1) {
    Request request;
    request.prompts.emplace_back(TextPrompt{text, true, {}});
    request.n = n;
    request.sampling.max_tokens = 50;
    request.given.max_tokens = true;
    request.given.seed = true;
    request.sampling.seed = 7;
    return request;
  }

  std::unique_ptr<Generation> start(Request request) {
    auto prepared = prepare(std::move(request), test_.model, DefaultsFrom::kGenerationConfig, 128);
    EXPECT_TRUE(prepared.ok()) << prepared.status().message();
    auto generation = Generation::start(
        std::move(*prepared), [this] { ++num_wakes_; }, &metrics_, true);
    EXPECT_TRUE(generation.ok()) << generation.status().message();
    return std::move(*generation);
  }

  std::vector<TokenId> ids(const std::string& text) {
    return test_.model->tokenizer->encode(text, {false, true});
  }

  // Everything that has come; also kept in all_.
  void drain(Generation& generation) {
    for (auto& delta : generation.take()) all_.push_back(std::move(delta));
  }
  std::string text_of(int choice) {
    std::string text;
    for (const auto& delta : all_) text += delta.choice == choice ? delta.text : "";
    return text;
  }
  int num_ends(int choice) {
    return static_cast<int>(std::count_if(all_.begin(), all_.end(), [&](const auto& delta) {
      return delta.choice == choice && delta.finish_reason.has_value();
    }));
  }

  TestModel test_ = make_test_model();
  FakeEngine& engine_ = *test_.engine;
  ModelMetrics metrics_{"demo", 256};
  int num_wakes_ = 0;
  std::vector<dialects::OutputDelta> all_;
};

TEST_F(GenerationTest, DeltasAreTheTextOfTheTokens) {
  auto generation = start(text_request("Once"));
  const std::string text = " upon a time 日本語 🙂 there was";
  for (const TokenId id : ids(text)) {
    engine_.token(0, id);
    drain(*generation);
  }
  EXPECT_FALSE(generation->finished());
  engine_.finish(0, FinishReason::kStop, 2);
  drain(*generation);
  ASSERT_TRUE(generation->finished());
  EXPECT_EQ(text_of(0), text);
  EXPECT_EQ(num_ends(0), 1);
  EXPECT_EQ(all_.back().finish_reason, FinishReason::kStop);
  EXPECT_FALSE(all_.back().stop_reason) << "the model's own end token is nobody's stop";
  const auto completion = generation->completion();
  EXPECT_EQ(completion.usage.completion_tokens, static_cast<int>(ids(text).size()));
  EXPECT_EQ(completion.usage.prompt_tokens, static_cast<int>(engine_.submitted()[0].prompt.size()));
  EXPECT_EQ(completion.context.size(), engine_.submitted()[0].prompt.size() + ids(text).size());
}

// What the engine says of a cancelled one comes after the end, and the report has it.
TEST_F(GenerationTest, ReportsTheTimesOfWhatWasCancelled) {
  auto generation = start(text_request("Once"));
  engine_.token(0, ids(" upon")[0]);
  drain(*generation);
  generation->fail({ErrorKind::kDeadlineExceeded, "the deadline has passed"});
  EXPECT_TRUE(generation->has_open());
  EXPECT_TRUE(generation->take().empty());
  EXPECT_FALSE(generation->has_open());
  const GenerationReport report = generation->report();
  EXPECT_EQ(report.timings.queued, std::chrono::seconds(1));
  EXPECT_EQ(report.timings.prefill, std::chrono::seconds(2));
  EXPECT_STREQ(report.end, "deadline_exceeded") << "and the reason stays";
}

TEST_F(GenerationTest, CountsWhatItsClientLeftAsCancelled) {
  {
    auto generation = start(text_request("Once"));
    generation->cancel();
    EXPECT_TRUE(generation->take().empty());
    EXPECT_FALSE(generation->has_open());
    EXPECT_STREQ(generation->report().end, "cancelled");
  }
  EXPECT_EQ(metrics_.requests[static_cast<std::size_t>(Outcome::kCancelled)].load(), 1u);
  EXPECT_EQ(metrics_.requests[static_cast<std::size_t>(Outcome::kFailed)].load(), 0u);
}

TEST_F(GenerationTest, WakesOnlyWhenTheInboxWasEmpty) {
  auto generation = start(text_request("Once"));
  for (const TokenId id : ids(" upon a time")) engine_.token(0, id);
  EXPECT_EQ(num_wakes_, 1);
  drain(*generation);
  engine_.token(0, 5);
  EXPECT_EQ(num_wakes_, 2);
}

TEST_F(GenerationTest, AStopStringEndsTheSequenceAndLeaksNothing) {
  Request request = text_request("Once");
  request.stop = {"END here"};
  auto generation = start(std::move(request));
  const auto tokens = ids(" upon a END here and on");
  std::size_t num_sent = 0;
  for (const TokenId id : tokens) {
    if (engine_.num_open() == 0) break;
    engine_.token(0, id);
    ++num_sent;
    drain(*generation);
  }
  EXPECT_LT(num_sent, tokens.size());
  EXPECT_EQ(engine_.num_cancelled(), 1);
  drain(*generation);
  ASSERT_TRUE(generation->finished());
  EXPECT_TRUE(generation->failure().ok());
  EXPECT_EQ(text_of(0), " upon a ");
  EXPECT_EQ(num_ends(0), 1);
  EXPECT_EQ(std::get<std::string>(*all_.back().stop_reason), "END here");
  EXPECT_EQ(generation->completion().usage.completion_tokens, static_cast<int>(num_sent));
  EXPECT_EQ(metrics_.finished_stop, 1u);
}

TEST_F(GenerationTest, StopStringsWaitForMinTokens) {
  Request request = text_request("Once");
  request.stop = {"a"};
  request.sampling.min_tokens = 3;
  auto generation = start(std::move(request));
  const TokenId a = ids("a")[0];
  for (int i = 0; i < 4; ++i) engine_.token(0, a);
  drain(*generation);
  EXPECT_EQ(text_of(0), "aaa");
  EXPECT_EQ(num_ends(0), 1);
}

TEST_F(GenerationTest, ChoicesHaveTheirOwnSeedsAndThePromptCountsOnce) {
  auto generation = start(text_request("Once upon", 3));
  const auto submitted = engine_.submitted();
  ASSERT_EQ(submitted.size(), 3u);
  EXPECT_EQ(submitted[0].sampling.seed, 7u);
  EXPECT_EQ(submitted[2].sampling.seed, 9u);
  EXPECT_NE(submitted[0].id, submitted[1].id);
  for (std::size_t i = 0; i < 3; ++i) {
    engine_.token(i, 10);
    engine_.finish(i, FinishReason::kLength);
  }
  drain(*generation);
  ASSERT_TRUE(generation->finished());
  const Usage usage = generation->completion().usage;
  EXPECT_EQ(usage.prompt_tokens, static_cast<int>(submitted[0].prompt.size()));
  EXPECT_EQ(usage.completion_tokens, 3);
}

TEST_F(GenerationTest, OneFailureEndsTheRequestOnceAndCancelsTheRest) {
  auto generation = start(text_request("Once", 3));
  engine_.token(0, 10);
  engine_.fail(1, Status(ErrorKind::kInternal, "boom"));
  engine_.token(2, 10);
  drain(*generation);
  EXPECT_TRUE(generation->finished());
  EXPECT_EQ(generation->failure().message(), "boom");
  EXPECT_EQ(engine_.num_open(), 0u);
  all_.clear();
  drain(*generation);
  EXPECT_TRUE(all_.empty());
  generation.reset();
  EXPECT_EQ(metrics_.requests[static_cast<std::size_t>(Outcome::kFailed)], 1u);
}

TEST_F(GenerationTest, AFullQueueLeavesNothingBehind) {
  engine_.set_max_sequences(2);
  auto prepared = prepare(text_request("Once", 3), test_.model, DefaultsFrom::kGenerationConfig, 9);
  auto generation = Generation::start(
      std::move(*prepared), [] {}, &metrics_, false);
  ASSERT_FALSE(generation.ok());
  EXPECT_EQ(generation.status().kind(), ErrorKind::kOverloaded);
  EXPECT_EQ(engine_.num_open(), 0u);
}

TEST_F(GenerationTest, DestructionCancels) {
  start(text_request("Once", 2)).reset();
  EXPECT_EQ(engine_.num_cancelled(), 2);
  EXPECT_EQ(metrics_.requests[static_cast<std::size_t>(Outcome::kCancelled)], 1u);
}

TEST_F(GenerationTest, StopTokensOfTheClientAreTold) {
  Request request = text_request("Once");
  request.sampling.stop_token_ids = {33};
  auto generation = start(std::move(request));
  engine_.finish(0, FinishReason::kStop, 33);
  drain(*generation);
  EXPECT_EQ(std::get<TokenId>(*all_.back().stop_reason), 33);
  EXPECT_EQ(all_.back().end_token, 33);
}

TEST_F(GenerationTest, TheModelsOwnEndTokenIsCountedButNoStopReason) {
  auto generation = start(text_request("Once"));
  engine_.finish(0, FinishReason::kStop, 2);
  drain(*generation);
  EXPECT_EQ(all_.back().end_token, 2);
  EXPECT_FALSE(all_.back().stop_reason.has_value());
}

TEST_F(GenerationTest, TokensComeWithLogprobsWhenAskedFor) {
  Request request = text_request("Once");
  request.sampling.logprobs = true;
  request.sampling.top_logprobs = 2;
  auto generation = start(std::move(request));
  engine_.token(0, ids(" upon")[0]);
  drain(*generation);
  ASSERT_EQ(all_.size(), 1u);
  ASSERT_EQ(all_[0].tokens.size(), 1u);
  EXPECT_EQ(all_[0].tokens[0].token.bytes, test_.model->tokenizer->token_bytes(ids(" upon")[0]));
  EXPECT_EQ(all_[0].tokens[0].top.size(), 2u);
}

// Whatever the order of events over many choices, each ends once and none is lost.
TEST_F(GenerationTest, EveryChoiceEndsOnceInRandomHistories) {
  std::mt19937 random(3);
  for (int round = 0; round < 50; ++round) {
    all_.clear();
    const std::size_t base = engine_.submitted().size();
    const int n = 1 + static_cast<int>(random() % 6);
    Request request = text_request("Once", n);
    request.stop = {"the"};
    auto generation = start(std::move(request));
    for (int i = 0; i < 400 && engine_.num_open() > 0; ++i) {
      const std::size_t choice = base + random() % static_cast<std::size_t>(n);
      try {
        if (random() % 12 == 0) {
          engine_.finish(choice, FinishReason::kLength);
        } else {
          engine_.token(choice, 100 + static_cast<TokenId>(random() % 1000));
        }
      } catch (const std::out_of_range&) {  // that one has ended
      }
      if (random() % 3 == 0) drain(*generation);
    }
    for (int choice = 0; choice < n; ++choice) {
      engine_.finish(base + static_cast<std::size_t>(choice), FinishReason::kLength);
    }
    drain(*generation);
    ASSERT_TRUE(generation->finished());
    for (int choice = 0; choice < n; ++choice) {
      EXPECT_EQ(num_ends(choice), 1);
      EXPECT_EQ(text_of(choice).find("the"), std::string::npos);
    }
  }
}

}  // namespace
}  // namespace tutti::server
