#include "engine/sampler.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

#include "base/file.h"
#include "base/json.h"
#include "engine/logits_math.h"
#include "engine/philox.h"
#include "tests/support/goldens.h"

namespace tutti::engine {
namespace {

namespace json = boost::json;

template <typename T>
std::vector<T> numbers(const json::value& array) {
  std::vector<T> result;
  for (const json::value& each : array.as_array()) result.push_back(each.to_number<T>());
  return result;
}

SamplingParams parse_params(const json::object& object) {
  SamplingParams params;
  const auto read = [&](const char* name, auto& field) {
    if (const json::value* found = object.if_contains(name)) {
      field = found->to_number<std::remove_reference_t<decltype(field)>>();
    }
  };
  read("temperature", params.temperature);
  read("top_k", params.top_k);
  read("top_p", params.top_p);
  read("min_p", params.min_p);
  read("typical_p", params.typical_p);
  read("repeat_penalty", params.repeat_penalty);
  read("repeat_last_n", params.repeat_last_n);
  read("frequency_penalty", params.frequency_penalty);
  read("presence_penalty", params.presence_penalty);
  read("min_tokens", params.min_tokens);
  if (const json::value* stops = object.if_contains("stop_token_ids")) {
    params.stop_token_ids = numbers<TokenId>(*stops);
  }
  if (const json::value* bias = object.if_contains("logit_bias")) {
    for (const json::value& pair : bias->as_array()) {
      params.logit_bias.emplace_back(pair.at(0).to_number<TokenId>(),
                                     pair.at(1).to_number<float>());
    }
  }
  return params;
}

// The distributions that transformers' processors give (make_sampling_cases.py): the same tokens,
// and their probabilities.
TEST(Sampler, AgreesWithTransformers) {
  const auto text = read_file(testing::golden_path("sampling/cases.json"), 1 << 24);
  ASSERT_TRUE(text.ok()) << text.status().message();
  const auto file = parse_json(*text);
  ASSERT_TRUE(file.ok()) << file.status().message();
  const json::array& cases = file->at("cases").as_array();
  ASSERT_GT(cases.size(), 200u);
  SamplerScratch scratch;
  for (const json::value& each : cases) {
    SCOPED_TRACE(json::serialize(each.at("params")));
    const SamplingParams params = parse_params(each.at("params").as_object());
    std::vector<float> scores = numbers<float>(each.at("logits"));
    std::vector<TokenId> tokens = numbers<TokenId>(each.at("prompt"));
    const int num_prompt_tokens = static_cast<int>(tokens.size());
    for (const TokenId token : numbers<TokenId>(each.at("generated"))) tokens.push_back(token);
    const std::vector<TokenId> end_tokens = numbers<TokenId>(each.at("end_tokens"));
    const TokenHistory history{
        .tokens = tokens, .num_prompt_tokens = num_prompt_tokens, .end_tokens = end_tokens};

    const json::array& expected = each.at("expected").as_array();
    if (params.temperature == 0) {
      const auto sampled = sample(params, history, scores, scratch);
      ASSERT_TRUE(sampled.ok());
      EXPECT_EQ(sampled->token, expected.at(0).at(0).to_number<TokenId>());
      continue;
    }
    process_logits(params, history, scratch.counts, scores);
    find_candidates(params, scores, scratch.candidates);
    const double total = total_weight(scratch.candidates);
    ASSERT_EQ(scratch.candidates.size(), expected.size());
    for (std::size_t i = 0; i < expected.size(); ++i) {
      EXPECT_EQ(scratch.candidates[i].token, expected[i].at(0).to_number<TokenId>());
      EXPECT_NEAR(scratch.candidates[i].weight / total, expected[i].at(1).to_number<double>(),
                  1e-5);
    }
  }
}

// Known answers of the Random123 library (kat_vectors: philox4x32, 10 rounds).
TEST(Philox, GivesTheKnownAnswers) {
  EXPECT_EQ(philox4x32({0, 0, 0, 0}, {0, 0}),
            (PhiloxBlock{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox4x32({~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}),
            (PhiloxBlock{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (PhiloxBlock{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

std::vector<float> random_logits(int vocab_size, float deviation, int seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, deviation);
  std::vector<float> logits(vocab_size);
  for (float& logit : logits) logit = normal(random);
  return logits;
}

// Draws at many positions against the exact probabilities: Pearson's chi-square, at a significance
// of about 1e-4, with fixed seeds.
TEST(Sampler, DrawsWithTheRightFrequencies) {
  constexpr int kVocab = 20, kDraws = 40000;
  const std::vector<float> logits = random_logits(kVocab, 1.2f, 3);
  const double log_normaliser = [&] {
    double sum = 0;
    for (const float logit : logits) sum += std::exp(static_cast<double>(logit));
    return std::log(sum);
  }();
  SamplerScratch scratch;
  const std::vector<TokenId> tokens(kDraws, 0);
  // Over positions of one seed, and over seeds at one position.
  for (const bool over_positions : {true, false}) {
    std::vector<int> counts(kVocab, 0);
    for (int i = 0; i < kDraws; ++i) {
      SamplingParams params;
      params.seed = over_positions ? 42 : static_cast<std::uint64_t>(i);
      const TokenHistory history{.tokens = std::span(tokens).first(over_positions ? i : 7),
                                 .num_prompt_tokens = 0,
                                 .end_tokens = {}};
      ++counts[sample(params, history, logits, scratch)->token];
    }
    double chi_square = 0;
    for (int token = 0; token < kVocab; ++token) {
      const double expected = kDraws * std::exp(logits[token] - log_normaliser);
      chi_square += (counts[token] - expected) * (counts[token] - expected) / expected;
    }
    EXPECT_LT(chi_square, 52) << "19 degrees of freedom";
  }
}

SampledToken sample_once(const SamplingParams& params, std::span<const float> logits) {
  SamplerScratch scratch;
  const std::vector<TokenId> tokens = {0, 1, 2};
  const TokenHistory history{.tokens = tokens, .num_prompt_tokens = 2, .end_tokens = {}};
  const auto sampled = sample(params, history, logits, scratch);
  EXPECT_TRUE(sampled.ok());
  return sampled.ok() ? *sampled : SampledToken{};
}

TEST(Sampler, IsAFunctionOfSeedAndPosition) {
  const std::vector<float> logits = random_logits(1000, 2, 4);
  std::set<TokenId> drawn;
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    SamplingParams params;
    params.seed = seed << 32;  // all 64 bits count
    const TokenId token = sample_once(params, logits).token;
    EXPECT_EQ(sample_once(params, logits).token, token);
    drawn.insert(token);
  }
  EXPECT_GT(drawn.size(), 20u);
}

TEST(Sampler, TakesTheLowestIdAmongEquals) {
  SamplingParams params;
  params.temperature = 0;
  params.logprobs = true;
  params.top_logprobs = 3;
  const SampledToken sampled = sample_once(params, std::vector<float>{1, 2, 0, 2, 2, 2});
  EXPECT_EQ(sampled.token, 1);
  ASSERT_EQ(sampled.top_logprobs.size(), 3u);
  EXPECT_EQ(sampled.top_logprobs[0].token, 1);
  EXPECT_EQ(sampled.top_logprobs[1].token, 3);
  EXPECT_EQ(sampled.top_logprobs[2].token, 4);
}

TEST(Sampler, GivesLogprobsOfTheRawLogits) {
  const std::vector<float> logits = random_logits(50000, 3, 5);
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit));
  SamplingParams params;
  params.seed = 9;
  params.temperature = 0.5;
  params.top_k = 5;
  params.logit_bias = {{3, 50.0f}};  // chooses token 3, whose log-probability stays the model's
  params.logprobs = true;
  params.top_logprobs = 20;
  const SampledToken sampled = sample_once(params, logits);
  EXPECT_EQ(sampled.token, 3);
  EXPECT_NEAR(sampled.logprob, logits[3] - std::log(sum), 1e-5);
  ASSERT_EQ(sampled.top_logprobs.size(), 20u);
  std::vector<float> sorted(logits);
  std::sort(sorted.begin(), sorted.end(), std::greater<>());
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(logits[sampled.top_logprobs[i].token], sorted[i]);
    EXPECT_NEAR(sampled.top_logprobs[i].logprob, sorted[i] - std::log(sum), 1e-5);
  }
}

// What a full sort of the vocabulary would keep, by the definitions in truncation.h.
std::vector<TokenId> naive_candidates(const SamplingParams& params, std::vector<float> scores) {
  std::vector<TokenId> ranking(scores.size());
  for (std::size_t i = 0; i < ranking.size(); ++i) ranking[i] = static_cast<TokenId>(i);
  std::stable_sort(ranking.begin(), ranking.end(),
                   [&](TokenId a, TokenId b) { return scores[a] > scores[b]; });
  if (params.top_k > 0 && params.top_k < static_cast<int>(scores.size())) {
    const float threshold = scores[ranking[params.top_k - 1]];
    std::erase_if(ranking, [&](TokenId token) { return scores[token] < threshold; });
  }
  std::vector<float> weights(scores.size());
  exp_differences(scores, scores[ranking[0]], weights);
  double total = 0;
  for (std::size_t i = 0; i < scores.size(); ++i) {
    const bool is_kept =
        std::find(ranking.begin(), ranking.end(), static_cast<TokenId>(i)) != ranking.end();
    if (is_kept) total += weights[i];
  }
  double sum = 0;
  std::size_t num_kept = 0;
  while (num_kept < ranking.size() && sum < params.top_p * total)
    sum += weights[ranking[num_kept++]];
  ranking.resize(num_kept);
  std::sort(ranking.begin(), ranking.end());
  return ranking;
}

TEST(Sampler, PartialSelectionEqualsAFullSort) {
  std::mt19937 random(6);
  std::vector<Candidate> candidates;
  for (int round = 0; round < 200; ++round) {
    const int vocab_size = 1 + static_cast<int>(random() % 600);
    std::vector<float> scores = random_logits(vocab_size, round % 2 ? 0.01f : 5.0f, round);
    for (float& score : scores) {
      if (round % 3 == 0) score = std::round(score);  // many equals
    }
    SamplingParams params;
    params.top_k = round % 4 == 0 ? 0 : static_cast<int>(random() % (vocab_size + 5));
    params.top_p = std::uniform_real_distribution(0.01, 0.999)(random);
    const std::vector<TokenId> expected = naive_candidates(params, scores);
    find_candidates(params, scores, candidates);
    std::vector<TokenId> found;
    found.reserve(candidates.size());
    for (const Candidate& candidate : candidates) found.push_back(candidate.token);
    ASSERT_EQ(found, expected) << "round " << round;
  }
}

TEST(Sampler, RefusesLogitsThatAreNotFinite) {
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
        -std::numeric_limits<float>::infinity()}) {
    SamplerScratch scratch;
    const auto sampled = sample({}, {}, std::vector<float>{0, 1, bad, 2}, scratch);
    ASSERT_FALSE(sampled.ok());
    EXPECT_EQ(sampled.status().kind(), ErrorKind::kInternal);
  }
}

TEST(Sampler, RefusesWhenEveryTokenIsForbidden) {
  SamplerScratch scratch;
  SamplingParams params;
  params.min_tokens = 1;
  params.stop_token_ids = {0, 1, 2, 99, -1};
  const auto sampled = sample(params, {}, std::vector<float>{0, 1, 2}, scratch);
  ASSERT_FALSE(sampled.ok());
  EXPECT_EQ(sampled.status().field(), "min_tokens");
}

// The corners of what a dialect lets through: always a token, never a hang or a crash.
TEST(Sampler, SurvivesExtremes) {
  const std::vector<float> ordinary = random_logits(100, 3, 8);
  std::vector<float> huge(100, 3e38f);
  huge[7] = -3e38f;
  const std::vector<float> zeros(100, 0.0f);
  for (const auto& logits : {ordinary, huge, zeros}) {
    for (const double temperature : {0.0, 1e-300, 1e-5, 100.0}) {
      for (const double penalty : {1e-300, 1.0, 100.0}) {
        for (const double least : {1e-300, 1.0}) {
          SamplingParams params;
          params.temperature = temperature;
          params.repeat_penalty = penalty;
          params.top_p = params.typical_p = params.min_p = least;
          params.frequency_penalty = params.presence_penalty = -2;
          params.logprobs = true;
          params.top_logprobs = 20;
          const TokenId token = sample_once(params, logits).token;
          EXPECT_GE(token, 0);
          EXPECT_LT(token, 100);
        }
      }
    }
  }
}

TEST(LogitsMath, ExponentialIsAccurate) {
  for (float x = 0; x > -87; x -= 0.00137f) {
    float result = 0;
    exp_differences({&x, 1}, 0, {&result, 1});
    const double exact = std::exp(static_cast<double>(x));
    ASSERT_NEAR(result / exact, 1.0, 2.5e-7) << x;
  }
}

}  // namespace
}  // namespace tutti::engine
