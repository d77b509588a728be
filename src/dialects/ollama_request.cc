#include <fmt/format.h>

#include <boost/json.hpp>

#include "dialects/ollama.h"
#include "dialects/ollama_fields.h"
#include "dialects/ollama_render.h"

namespace tutti::dialects::ollama {
namespace {

// Below this a temperature is greedy, for dividing by it would overflow.
constexpr double kMinTemperature = 1e-5;

Draft new_draft() {
  constexpr int kDefaultNumKeep = 4;
  Draft draft;
  Request& request = draft.request;
  request.sampling = default_sampling();
  request.stream = true;
  request.truncate_to_context = true;
  request.truncate_keep_tokens = kDefaultNumKeep;
  request.clamp_max_tokens = true;
  return draft;
}

Status merge_names(std::string& model, const std::string& legacy_name) {
  if (legacy_name.empty()) return {};
  if (!model.empty() && model != legacy_name) {
    return invalid_argument("name", "`name` is an older name of `model`, and they differ");
  }
  model = legacy_name;
  return {};
}

// What chat and generate have in common. `load_only`: there is nothing to answer.
Status finish_request(bool load_only, Draft& draft) {
  Request& request = draft.request;
  TUTTI_RETURN_IF_ERROR(merge_names(request.model, draft.legacy_name));
  if (request.sampling.top_logprobs > 0 && !request.sampling.logprobs) {
    return invalid_argument("top_logprobs", "`top_logprobs` is only allowed with `logprobs`");
  }
  if (load_only && draft.keep_alive_seconds == 0.0) {
    return unsupported(
        "`keep_alive` of 0 without a prompt asks to unload the model, which is not supported: "
        "models stay loaded while the server runs",
        "keep_alive");
  }
  if (request.sampling.temperature < kMinTemperature) request.sampling.temperature = 0;
  request.given.seed = draft.seed != -1;
  if (request.given.seed) request.sampling.seed = static_cast<std::uint64_t>(draft.seed);
  request.sampling.max_tokens = draft.num_predict > 0 ? draft.num_predict : kUnlimitedTokens;
  return {};
}

ParsedRequest finished(Draft draft, RenderOptions::Kind kind, bool load_only,
                       std::vector<std::string>* warnings) {
  if (warnings != nullptr) {
    warnings->insert(warnings->end(), draft.warnings.begin(), draft.warnings.end());
  }
  const RenderOptions options{kind, draft.request.sampling.logprobs, load_only};
  return ParsedRequest{std::move(draft.request), make_renderer(options), load_only};
}

Result<Prompt> generate_prompt(Draft& draft) {
  if (draft.raw) {
    for (const auto& [name, given] : {std::pair("system", !draft.system.empty()),
                                      std::pair("template", !draft.template_source.empty()),
                                      std::pair("context", !draft.context.empty())}) {
      if (!given) continue;
      return invalid_argument(name, fmt::format("`{}` is not allowed with `raw`", name));
    }
    return Prompt(TextPrompt{std::move(draft.prompt), true, {}});
  }
  if (!draft.template_source.empty()) {
    return Prompt(TemplatedPrompt{std::move(draft.template_source), std::move(draft.system),
                                  std::move(draft.prompt), std::move(draft.context)});
  }
  ChatPrompt chat;
  if (!draft.system.empty()) {
    chat.messages.push_back(json::object{{"role", "system"}, {"content", draft.system}});
  }
  chat.messages.push_back(json::object{{"role", "user"}, {"content", draft.prompt}});
  chat.template_variables = std::move(draft.template_variables);
  chat.context = std::move(draft.context);
  return Prompt(std::move(chat));
}

Prompt chat_prompt(Draft& draft) {
  ChatPrompt chat;
  chat.messages = std::move(draft.messages);
  chat.template_variables = std::move(draft.template_variables);
  const json::object& last = chat.messages.back().get_object();
  chat.continue_final_message = last.at("role") == "assistant" && !last.contains("tool_calls") &&
                                !last.at("content").get_string().empty();
  chat.add_generation_prompt = !chat.continue_final_message;
  return chat;
}

}  // namespace

Result<ParsedRequest> parse_chat(std::string_view body_text, std::vector<std::string>* warnings) {
  TUTTI_ASSIGN_OR_RETURN(const json::object body, parse_body(body_text));
  Draft draft = new_draft();
  TUTTI_RETURN_IF_ERROR(read_fields(body, chat_fields(), "", draft));
  const bool load_only = draft.messages.empty();
  TUTTI_RETURN_IF_ERROR(finish_request(load_only, draft));
  if (!load_only) draft.request.prompts.push_back(chat_prompt(draft));
  return finished(std::move(draft), RenderOptions::Kind::kChat, load_only, warnings);
}

Result<ParsedRequest> parse_generate(std::string_view body_text,
                                     std::vector<std::string>* warnings) {
  TUTTI_ASSIGN_OR_RETURN(const json::object body, parse_body(body_text));
  Draft draft = new_draft();
  TUTTI_RETURN_IF_ERROR(read_fields(body, generate_fields(), "", draft));
  const bool load_only = draft.prompt.empty();
  TUTTI_RETURN_IF_ERROR(finish_request(load_only, draft));
  TUTTI_ASSIGN_OR_RETURN(Prompt prompt, generate_prompt(draft));
  if (!load_only) draft.request.prompts.push_back(std::move(prompt));
  return finished(std::move(draft), RenderOptions::Kind::kGenerate, load_only, warnings);
}

Result<ShowRequest> parse_show(std::string_view body_text) {
  struct ShowDraft {
    ShowRequest show;
    std::string legacy_name;
  };
  static const std::vector<Field<ShowDraft>> fields = {
      string_field<ShowDraft>(
          "model", 1024, [](ShowDraft& d) -> std::string& { return d.show.model; }, ""),
      string_field<ShowDraft>(
          "name", 1024, [](ShowDraft& d) -> std::string& { return d.legacy_name; }, ""),
      boolean_field<ShowDraft>(
          "verbose", [](ShowDraft& d) -> bool& { return d.show.verbose; }, ""),
      refused_field<ShowDraft>("system", "\"\"", ""),
      refused_field<ShowDraft>("template", "\"\"", ""),
      refused_field<ShowDraft>("options", "{}", ""),
  };
  TUTTI_ASSIGN_OR_RETURN(const json::object body, parse_body(body_text));
  ShowDraft draft;
  TUTTI_RETURN_IF_ERROR(read_fields(body, fields, "", draft));
  TUTTI_RETURN_IF_ERROR(merge_names(draft.show.model, draft.legacy_name));
  return draft.show;
}

}  // namespace tutti::dialects::ollama
