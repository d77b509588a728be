// How the next token is chosen. Ranges are checked where a request is parsed (dialects/), so the
// sampler may rely on them.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "core/ids.h"

namespace tutti {

struct SamplingParams {
  double temperature = 1.0;     // (0, 100]; 0, or less than 1e-5: greedy
  int top_k = 0;                // 0 or less: off
  double top_p = 1.0;           // (0, 1]; 1: off
  double min_p = 0.0;           // [0, 1]; 0: off
  double typical_p = 1.0;       // (0, 1]; 1: off
  double repeat_penalty = 1.0;  // (0, 100]; 1: off (HF's and vLLM's repetition_penalty)
  int repeat_last_n = -1;       // tokens that penalties look back at; -1: all, 0: none
  // Over the generated tokens among the last repeat_last_n; the prompt's do not count, as with
  // OpenAI and vLLM. (repeat_penalty counts both.)
  double frequency_penalty = 0.0;  // [-2, 2], for each occurrence
  double presence_penalty = 0.0;   // [-2, 2], once for each token
  // Added to the logits. Each token at most once.
  std::vector<std::pair<TokenId, float>> logit_bias;
  std::uint64_t seed = 0;               // random numbers are a function of (seed, position)
  int min_tokens = 0;                   // ends are not sampled before that many
  int max_tokens = 16;                  // new tokens, >= 0
  bool ignore_eos = false;              // the model's own end tokens do not end the sequence
  std::vector<TokenId> stop_token_ids;  // besides the model's own
  bool logprobs = false;                // log-probability of the token that was chosen
  int top_logprobs = 0;                 // and of the best n, [0, 20]
};

}  // namespace tutti
