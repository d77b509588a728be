// From a parsed request to what the engine is to compute: prompts as tokens, every sampling field
// resolved, every bound that depends on the model checked. Pure work: no engine, no sockets.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "core/request.h"
#include "store/loaded_model.h"

namespace tutti::server {

// Where the fields that a client did not set come from.
enum class DefaultsFrom {
  kGenerationConfig,  // as vLLM: the model makers' generation_config.json
  kOllama,            // as Ollama: its own constants, and the store's `params` layer over them
};

struct PreparedPrompt {
  std::vector<TokenId> tokens;
  std::string echo;    // the prompt as text, when the request asked for it
  int max_tokens = 0;  // what it may generate; 0: nothing
};

struct PreparedRequest {
  std::shared_ptr<store::LoadedModel> model;
  Request request;  // without its prompts
  std::vector<PreparedPrompt> prompts;
  SamplingParams sampling;  // resolved; max_tokens stands with each prompt
  std::vector<TokenId> end_tokens;
  std::string tenant;  // see SequenceRequest
  double tenant_weight = 1;
  std::optional<TimePoint> deadline;
};

// Errors name the field and the bound: a prompt longer than the context with both counts, token ids
// out of the vocabulary, more than `max_sequences` of n times prompts.
// Thread safety: may run on several threads at once.
Result<PreparedRequest> prepare(Request request, std::shared_ptr<store::LoadedModel> model,
                                DefaultsFrom defaults, int max_sequences);

}  // namespace tutti::server
