#include "server/generation_call.h"

#include <algorithm>
#include <cmath>

#include "base/log.h"
#include "dialects/ollama.h"
#include "dialects/openai.h"
#include "server/cards.h"

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

dialects::ResponseHead make_head(const Request& request, const std::vector<PreparedPrompt>& prompts,
                                 const std::string& model_name) {
  dialects::ResponseHead head;
  const std::int64_t now = unix_nanoseconds_now();
  head.id = request.request_id;
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

Result<std::optional<Duration>> shorter_timeout(const RequestContext& context,
                                                const Request& request) {
  TUTTI_ASSIGN_OR_RETURN(std::optional<Duration> timeout,
                         parse_request_timeout(context.timeout_field));
  if (request.timeout && (!timeout || *request.timeout < *timeout)) timeout = request.timeout;
  return timeout;
}

}  // namespace

Result<GenerationCall> prepare_call(Endpoint endpoint, const std::string& body,
                                    const RequestContext& context, const ModelRegistry& registry,
                                    int max_sequences) {
  GenerationCall call;
  call.received = context.received;
  TUTTI_RETURN_IF_ERROR(context.tenant_status);
  TUTTI_ASSIGN_OR_RETURN(dialects::ParsedRequest parsed, parse_body(endpoint, body));
  TUTTI_ASSIGN_OR_RETURN(call.served, registry.find(parsed.request.model));
  // As vLLM: the header's id wins over the body's.
  std::string& id = parsed.request.request_id;
  if (context.has_own_id || id.empty()) id = context.id;
  TUTTI_ASSIGN_OR_RETURN(call.timeout, shorter_timeout(context, parsed.request));
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
  call.prepared.tenant = context.tenant.id;
  call.prepared.tenant_weight = context.tenant.weight;
  if (call.timeout) call.prepared.deadline = context.received + *call.timeout;
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
  const double seconds = engine::seconds_to_a_place(served.model->engine->stats());
  return std::max(1, static_cast<int>(std::ceil(seconds)));
}

}  // namespace tutti::server
