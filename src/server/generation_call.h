// A generation endpoint's body made ready to start: parsed by its dialect, its model found, its
// prompts tokenised. No sockets and no engine yet.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "base/clock.h"
#include "dialects/dialect.h"
#include "server/generation.h"
#include "server/model_registry.h"
#include "server/prepare.h"
#include "server/request_context.h"
#include "server/router.h"

namespace tutti::server {

struct GenerationCall {
  ServedModel served;
  PreparedRequest prepared;
  std::unique_ptr<dialects::ResponseRenderer> renderer;
  dialects::ResponseHead head;
  bool stream = false;
  bool load_only = false;     // answer with whole() at once
  bool keeps_tokens = false;  // Ollama's generate gives them back as `context`
  TimePoint received{};
  std::optional<Duration> timeout;  // since then
};

// Errors: the dialect's, the model's (kNotFound, kUnavailable while loading) and prepare()'s; they
// are counted as rejected where the model is known.
// Thread safety: may run on several threads at once.
Result<GenerationCall> prepare_call(Endpoint endpoint, const std::string& body,
                                    const RequestContext& context, const ModelRegistry& registry,
                                    int max_sequences);

// The end of a response, with what only the front knows.
dialects::Completion complete(const GenerationCall& call, const Generation* generation);

// Seconds after which a refused client may try again, from how fast sequences end lately: between
// 1 and 60.
int retry_after_seconds(const ServedModel& served);

}  // namespace tutti::server
