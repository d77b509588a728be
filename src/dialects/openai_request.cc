#include <fmt/format.h>

#include <boost/json.hpp>

#include "dialects/openai.h"
#include "dialects/openai_fields.h"
#include "dialects/openai_render.h"

namespace tutti::dialects::openai {
namespace {

// vLLM's: below this a temperature is greedy, for dividing by it would overflow.
constexpr double kMinTemperature = 1e-5;

Status require(const json::object& body, std::string_view field) {
  if (has_field(body, field)) return {};
  return invalid_argument(std::string(field), fmt::format("`{}` is required", field));
}

// `field` may be given only with another one.
Status needs(std::string_view field, std::string_view other) {
  return invalid_argument(std::string(field),
                          fmt::format("`{}` is only allowed with `{}`", field, other));
}

void finish_given(const json::object& body, Draft& draft) {
  Request& request = draft.request;
  request.given.temperature = has_field(body, "temperature");
  request.given.top_k = has_field(body, "top_k");
  request.given.top_p = has_field(body, "top_p");
  request.given.min_p = has_field(body, "min_p");
  request.given.stop = has_field(body, "stop");
  request.given.typical_p = has_field(body, "typical_p");
  request.given.repeat_penalty =
      has_field(body, "repetition_penalty") || has_field(body, "repeat_penalty");
  request.given.repeat_last_n = has_field(body, "repeat_last_n");
  request.given.frequency_penalty = has_field(body, "frequency_penalty");
  request.given.presence_penalty = has_field(body, "presence_penalty");
  request.given.seed = draft.seed != -1;
  if (request.given.seed) request.sampling.seed = static_cast<std::uint64_t>(draft.seed);
  if (request.sampling.temperature < kMinTemperature) request.sampling.temperature = 0;
  if (draft.truncate_prompt > 0) {
    request.truncate_prompt_tokens = static_cast<int>(draft.truncate_prompt);
  }
  request.truncate_to_context = draft.truncate_prompt == -1;
}

// What was not given goes to the end of the context, or is `default_tokens` when that is not 0.
void finish_max_tokens(int default_tokens, Draft& draft) {
  Request& request = draft.request;
  int limit = kUnlimitedTokens;
  for (int given : {draft.max_tokens, draft.max_completion_tokens}) {
    if (given > 0) limit = std::min(limit, given);
  }
  request.given.max_tokens = limit != kUnlimitedTokens;
  if (!request.given.max_tokens) {
    request.clamp_max_tokens = true;
    if (default_tokens > 0) {
      request.given.max_tokens = true;
      limit = default_tokens;
    }
  }
  request.sampling.max_tokens = limit;
}

Status parse_into(std::string_view body_text, const std::vector<Field<Draft>>& table,
                  json::object& body, Draft& draft) {
  TUTTI_ASSIGN_OR_RETURN(body, parse_body(body_text));
  return read_fields(body, table, "", draft);
}

}  // namespace

Status finish_request(const json::object& body, Draft& draft) {
  const Request& request = draft.request;
  if (has_field(body, "stream_options") && !request.stream)
    return needs("stream_options", "stream");
  if (request.continuous_usage_stats && !request.include_usage) {
    return needs("stream_options.continuous_usage_stats", "stream_options.include_usage");
  }
  if (has_field(body, "repetition_penalty") && has_field(body, "repeat_penalty")) {
    return invalid_argument("repeat_penalty",
                            "`repeat_penalty` and `repetition_penalty` are the same; give one");
  }
  finish_given(body, draft);
  if (request.sampling.min_tokens > request.sampling.max_tokens) {
    return invalid_argument("min_tokens",
                            fmt::format("`min_tokens` is {}, more than the {} of `max_tokens`",
                                        request.sampling.min_tokens, request.sampling.max_tokens));
  }
  const std::size_t choices = request.prompts.size() * static_cast<std::size_t>(request.n);
  if (choices > static_cast<std::size_t>(kMaxTotalChoices)) {
    return invalid_argument(
        "n", fmt::format("`n` times the number of prompts is {}, the limit is {}", choices,
                         kMaxTotalChoices));
  }
  return {};
}

Result<ParsedRequest> parse_chat_completion(std::string_view body_text) {
  Draft draft;
  json::object body;
  TUTTI_RETURN_IF_ERROR(parse_into(body_text, chat_completion_fields(), body, draft));
  TUTTI_RETURN_IF_ERROR(require(body, "messages"));
  const SamplingParams& sampling = draft.request.sampling;
  if (sampling.top_logprobs > 0 && !sampling.logprobs) return needs("top_logprobs", "logprobs");
  if (draft.chat.continue_final_message) {
    if (has_field(body, "add_generation_prompt") && draft.chat.add_generation_prompt) {
      return invalid_argument(
          "continue_final_message",
          "`continue_final_message` and `add_generation_prompt` cannot both be true");
    }
    draft.chat.add_generation_prompt = false;
  }
  finish_max_tokens(0, draft);
  draft.request.prompts.emplace_back(std::move(draft.chat));
  TUTTI_RETURN_IF_ERROR(finish_request(body, draft));
  RenderOptions options = render_options(draft.request);
  options.kind = RenderOptions::Kind::kChat;
  return ParsedRequest{std::move(draft.request), make_renderer(options)};
}

Result<ParsedRequest> parse_completion(std::string_view body_text) {
  Draft draft;
  json::object body;
  TUTTI_RETURN_IF_ERROR(parse_into(body_text, completion_fields(), body, draft));
  TUTTI_RETURN_IF_ERROR(require(body, "prompt"));
  Request& request = draft.request;
  if (request.echo && request.sampling.logprobs) {
    return unsupported("`echo` with `logprobs` is not supported", "echo");
  }
  if (draft.best_of != 0 && draft.best_of != request.n) {
    if (draft.best_of < request.n) {
      return invalid_argument(
          "best_of", fmt::format("`best_of` must be at least `n`, which is {}", request.n));
    }
    return unsupported("`best_of` beyond `n` is not supported", "best_of");
  }
  finish_max_tokens(16, draft);
  for (Prompt& prompt : draft.prompts) {
    if (auto* text = std::get_if<TextPrompt>(&prompt)) {
      text->add_special_tokens = draft.add_special_tokens;
    }
  }
  request.prompts = std::move(draft.prompts);
  TUTTI_RETURN_IF_ERROR(finish_request(body, draft));
  RenderOptions options = render_options(request);
  options.kind = RenderOptions::Kind::kCompletion;
  return ParsedRequest{std::move(request), make_renderer(options)};
}

}  // namespace tutti::dialects::openai
