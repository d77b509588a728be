// What changes a row of logits before the draw: bias, forbidden ends, penalties.
#pragma once

#include <span>
#include <vector>

#include "core/ids.h"
#include "core/sampling_params.h"

namespace tutti::engine {

// The tokens that came before the one to be sampled.
struct TokenHistory {
  std::span<const TokenId> tokens;  // prompt, then generated; each a row's index
  int num_prompt_tokens = 0;
  std::span<const TokenId> end_tokens;  // the model's own; ids beyond the row are ignored

  int num_generated_tokens() const { return static_cast<int>(tokens.size()) - num_prompt_tokens; }
};

// How often tokens occur. Reused from row to row: all zero between uses.
class TokenCounts {
 public:
  void count(std::span<const TokenId> tokens, std::size_t vocab_size);
  // Each token that was counted, once, in the order of its first occurrence.
  std::span<const TokenId> distinct() const { return distinct_; }
  int operator[](TokenId token) const { return counts_[token]; }
  void clear();

 private:
  std::vector<int> counts_;
  std::vector<TokenId> distinct_;
};

// Whether process_logits would do anything.
bool changes_logits(const SamplingParams& params, const TokenHistory& history);

// Changes `scores` (a copy of the logits, [vocab_size]) in place, in this order:
//   logit_bias         added
//   min_tokens         -infinity for every token that would end the sequence
//   repeat_penalty     as transformers' RepetitionPenaltyLogitsProcessor, once for each token among
//                      the last repeat_last_n of prompt and generated
//   frequency_penalty  subtracted once for each occurrence, and
//   presence_penalty   once for each token, among the generated ones of the last repeat_last_n;
//                      as vLLM and OpenAI, the prompt does not count
void process_logits(const SamplingParams& params, const TokenHistory& history, TokenCounts& counts,
                    std::span<float> scores);

}  // namespace tutti::engine
