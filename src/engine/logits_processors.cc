#include "engine/logits_processors.h"

#include <algorithm>
#include <limits>

namespace tutti::engine {
namespace {

// Keeps extreme penalties from making infinities, of which differences would be NaN.
constexpr float kScoreBound = 1e30f;

void forbid(std::span<const TokenId> tokens, std::span<float> scores) {
  for (const TokenId token : tokens) {
    if (token >= 0 && static_cast<std::size_t>(token) < scores.size()) {
      scores[token] = -std::numeric_limits<float>::infinity();
    }
  }
}

// A forbidden token stays forbidden, whatever is done to its score.
float bounded(float score) {
  return score == -std::numeric_limits<float>::infinity()
             ? score
             : std::clamp(score, -kScoreBound, kScoreBound);
}

void penalise_repetition(float penalty, std::span<const TokenId> distinct,
                         std::span<float> scores) {
  penalty = std::max(penalty, std::numeric_limits<float>::min());
  for (const TokenId token : distinct) {
    float& score = scores[token];
    score = bounded(score < 0 ? score * penalty : score / penalty);
  }
}

}  // namespace

void TokenCounts::count(std::span<const TokenId> tokens, std::size_t vocab_size) {
  if (counts_.size() < vocab_size) counts_.resize(vocab_size, 0);
  for (const TokenId token : tokens) {
    if (counts_[token]++ == 0) distinct_.push_back(token);
  }
}

void TokenCounts::clear() {
  for (const TokenId token : distinct_) counts_[token] = 0;
  distinct_.clear();
}

bool changes_logits(const SamplingParams& params, const TokenHistory& history) {
  return !params.logit_bias.empty() || history.num_generated_tokens() < params.min_tokens ||
         params.repeat_penalty != 1.0 || params.frequency_penalty != 0.0 ||
         params.presence_penalty != 0.0;
}

void process_logits(const SamplingParams& params, const TokenHistory& history, TokenCounts& counts,
                    std::span<float> scores) {
  for (const auto& [token, bias] : params.logit_bias) scores[token] += bias;
  if (history.num_generated_tokens() < params.min_tokens) {
    forbid(history.end_tokens, scores);
    forbid(params.stop_token_ids, scores);
  }

  const std::span<const TokenId> tokens = history.tokens;
  const std::size_t num_looked_at =
      params.repeat_last_n < 0
          ? tokens.size()
          : std::min(tokens.size(), static_cast<std::size_t>(params.repeat_last_n));
  if (params.repeat_penalty != 1.0) {
    counts.count(tokens.last(num_looked_at), scores.size());
    penalise_repetition(static_cast<float>(params.repeat_penalty), counts.distinct(), scores);
    counts.clear();
  }
  if (params.frequency_penalty != 0.0 || params.presence_penalty != 0.0) {
    const std::size_t num_generated = history.num_generated_tokens();
    counts.count(tokens.last(std::min(num_looked_at, num_generated)), scores.size());
    for (const TokenId token : counts.distinct()) {
      scores[token] -=
          static_cast<float>(params.frequency_penalty) * static_cast<float>(counts[token]);
      scores[token] -= static_cast<float>(params.presence_penalty);
    }
    counts.clear();
  }
}

}  // namespace tutti::engine
