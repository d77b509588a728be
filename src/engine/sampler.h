// Chooses the next token of one sequence from its row of logits.
#pragma once

#include <span>
#include <vector>

#include "base/result.h"
#include "core/event.h"
#include "core/sampling_params.h"
#include "engine/logits_processors.h"
#include "engine/truncation.h"

namespace tutti::engine {

// Buffers that are reused from row to row. One for each thread that samples.
struct SamplerScratch {
  std::vector<float> scores;  // [vocab_size]
  TokenCounts counts;
  std::vector<Candidate> candidates;
};

struct SampledToken {
  TokenId token = 0;
  // Set when params.logprobs: log-softmax of the logits as the model gave them.
  float logprob = 0;
  std::vector<TokenLogprob> top_logprobs{};
};

// A pure function of its arguments: the draw's random number is uniform_at(params.seed,
// history.tokens.size()), and the token is the first, in ascending order of id, at which the
// cumulative weight exceeds that share of the total.
// Errors: kInternal when a logit is NaN or infinite; kInvalidArgument when every token is
// forbidden. Thread safety: may run on several threads, each with its own scratch.
Result<SampledToken> sample(const SamplingParams& params, const TokenHistory& history,
                            std::span<const float> logits, SamplerScratch& scratch);

}  // namespace tutti::engine
