#include "server/generation_call.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/log.h"
#include "dialects/ollama.h"
#include "dialects/openai.h"
#include "server/cards.h"
#include "server/random.h"

namespace tutti::server {
namespace {

Result<dialects::ParsedRequest> parse_body(Endpoint endpoint, const std::string& body) {
  std::vector<std::string> warnings;
  auto parsed = endpoint == Endpoint::kOpenAiChat ? dialects::openai::parse_chat_completion(body)
                : endpoint == Endpoint::kOpenAiCompletion ? dialects::openai::parse_completion(body)
                : endpoint == Endpoint::kOllamaChat
                    ? dialects::ollama::parse_chat(body, &warnings)
                    : dialects::ollama::parse_generate(body, &warnings);
  for (const std::string& warning : warnings) log::warn("request: {}", warning);
  return parsed;
}

bool is_ollama(Endpoint endpoint) {
  return endpoint == Endpoint::kOllamaChat || endpoint == Endpoint::kOllamaGenerate;
}

std::string random_id() { return fmt::format("{:016x}{:016x}", random_bits(), random_bits()); }

dialects::ResponseHead make_head(const Request& request, const std::vector<PreparedPrompt>& prompts,
                                 const std::string& model_name) {
  dialects::ResponseHead head;
  const std::int64_t now = unix_nanoseconds_now();
  head.id = request.request_id.empty() ? random_id() : request.request_id;
  head.model = request.model.empty() ? model_name : request.model;
  head.created_unix_seconds = now / 1'000'000'000;
  head.created_rfc3339 = format_rfc3339(now);
  for (const PreparedPrompt& prompt : prompts) {
    head.prompt_tokens += static_cast<int>(prompt.tokens.size());
    if (request.echo) head.echo.push_back(prompt.echo);
    if (request.return_token_ids) head.prompt_token_ids.push_back(prompt.tokens);
  }
  return head;
}

}  // namespace

Result<GenerationCall> prepare_call(Endpoint endpoint, const std::string& body,
                                    const ModelRegistry& registry, int max_sequences) {
  GenerationCall call;
  call.received = SteadyClock::now();
  TUTTI_ASSIGN_OR_RETURN(dialects::ParsedRequest parsed, parse_body(endpoint, body));
  TUTTI_ASSIGN_OR_RETURN(call.served, registry.find(parsed.request.model));
  call.stream = parsed.request.stream;
  call.load_only = parsed.load_only;
  call.keeps_tokens = endpoint == Endpoint::kOllamaGenerate;
  call.renderer = std::move(parsed.renderer);
  const std::string& name = call.served.model->info.name;
  auto prepared = prepare(
      std::move(parsed.request), call.served.model,
      is_ollama(endpoint) ? DefaultsFrom::kOllama : DefaultsFrom::kGenerationConfig, max_sequences);
  if (!prepared.ok()) {
    call.served.metrics->count_request(Outcome::kRejected);
    return prepared.status();
  }
  call.prepared = std::move(*prepared);
  call.head = make_head(call.prepared.request, call.prepared.prompts,
                        is_ollama(endpoint) ? name : short_name(name));
  return call;
}

dialects::Completion complete(const GenerationCall& call, const Generation* generation) {
  dialects::Completion completion;
  if (generation) completion = generation->completion();
  completion.total = SteadyClock::now() - call.received;
  return completion;
}

int retry_after_seconds(const ServedModel& served) {
  const engine::EngineStats stats = served.model->engine->stats();
  const Histogram& latency = served.metrics->e2e_latency;
  const std::uint64_t num_ended = latency.cumulative_count(latency.bounds().size());
  if (num_ended == 0 || stats.num_running == 0) return 1;
  const double seconds_each = latency.sum() / static_cast<double>(num_ended);
  const double drained_per_second = stats.num_running / std::max(seconds_each, 1e-3);
  return std::clamp(static_cast<int>(stats.num_waiting / drained_per_second) + 1, 1, 60);
}

}  // namespace tutti::server
