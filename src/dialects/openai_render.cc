#include "dialects/openai_render.h"

#include <fmt/format.h>

#include <boost/json.hpp>

#include "base/check.h"
#include "base/json.h"
#include "dialects/logprobs.h"
#include "dialects/openai.h"

namespace tutti::dialects::openai {
namespace {

constexpr const char* kDone = "data: [DONE]\n\n";
constexpr const char* kFingerprint = "tutti-" TUTTI_VERSION;

std::string event(const json::object& object) {
  return fmt::format("data: {}\n\n", write_json(object));
}

json::value finish_reason_json(const std::optional<FinishReason>& reason) {
  if (!reason) return nullptr;
  return json::value(*reason == FinishReason::kStop ? "stop" : "length");
}

json::value stop_reason_json(const OutputDelta& delta) {
  if (!delta.stop_reason) return nullptr;
  if (const auto* text = std::get_if<std::string>(&*delta.stop_reason)) return json::value(*text);
  return json::value(std::get<TokenId>(*delta.stop_reason));
}

json::object usage_json(const Usage& usage) {
  return {
      {"prompt_tokens", usage.prompt_tokens},
      {"completion_tokens", usage.completion_tokens},
      {"total_tokens", static_cast<std::int64_t>(usage.prompt_tokens) + usage.completion_tokens},
      {"prompt_tokens_details", json::object{{"cached_tokens", usage.cached_tokens}}},
      {"completion_tokens_details", json::object{{"reasoning_tokens", 0}}}};
}

json::array ids_json(const std::vector<TokenId>& ids) {
  return json::array(ids.begin(), ids.end());
}

// What one choice has become, for a whole response.
struct WholeChoice {
  std::string text;
  std::vector<OutputToken> tokens;
  std::optional<TokenId> end_token;
  json::value finish_reason;
  json::value stop_reason;
};

class Renderer final : public ResponseRenderer {
 public:
  explicit Renderer(const RenderOptions& options)
      : options_(options),
        completion_logprobs_(static_cast<std::size_t>(options.num_choices),
                             CompletionLogprobs(options.top_logprobs)) {}

  std::string begin(const ResponseHead& head) override {
    head_ = head;
    usage_ = Usage{head.prompt_tokens, 0, 0};
    std::string out;
    for (int i = 0; i < options_.num_choices; ++i) out += opening(i);
    return out;
  }

  std::string delta(const OutputDelta& delta) override {
    check_choice(delta);
    usage_.completion_tokens += delta.num_tokens;
    std::string out;
    if (!delta.text.empty() || !delta.tokens.empty()) {
      json::object choice = streamed_choice(delta.choice, delta.text, delta.tokens);
      choice["finish_reason"] = nullptr;
      choice["stop_reason"] = nullptr;
      out += event(chunk(std::move(choice)));
    }
    if (delta.finish_reason) {
      json::object choice = streamed_choice(delta.choice, "", {});
      if (is_chat()) choice["delta"] = json::object();
      if (options_.return_token_ids) choice["token_ids"] = token_ids_json({}, delta.end_token);
      choice["finish_reason"] = finish_reason_json(delta.finish_reason);
      choice["stop_reason"] = stop_reason_json(delta);
      out += event(chunk(std::move(choice)));
    }
    return out;
  }

  std::string end(const Completion& completion) override {
    std::string out;
    if (options_.include_usage) {
      json::object last = head_json(chunk_object_name());
      last["choices"] = json::array();
      last["usage"] = usage_json(completion.usage);
      out += event(last);
    }
    return out + kDone;
  }

  std::string keep_alive() override { return ": keep-alive\n\n"; }

  std::string error(const Status& status) override {
    return fmt::format("data: {}\n\n{}", render_error(status).body, kDone);
  }

  std::string whole(const ResponseHead& head, const std::vector<OutputDelta>& deltas,
                    const Completion& completion) override {
    head_ = head;
    std::vector<WholeChoice> choices(static_cast<std::size_t>(options_.num_choices));
    for (const OutputDelta& delta : deltas) {
      check_choice(delta);
      WholeChoice& choice = choices[static_cast<std::size_t>(delta.choice)];
      choice.text += delta.text;
      choice.tokens.insert(choice.tokens.end(), delta.tokens.begin(), delta.tokens.end());
      if (delta.end_token) choice.end_token = delta.end_token;
      if (!delta.finish_reason) continue;
      choice.finish_reason = finish_reason_json(delta.finish_reason);
      choice.stop_reason = stop_reason_json(delta);
    }
    json::object out = head_json(is_chat() ? "chat.completion" : "text_completion");
    json::array list;
    for (int i = 0; i < options_.num_choices; ++i) {
      list.push_back(whole_choice(i, choices[static_cast<std::size_t>(i)]));
    }
    out["choices"] = std::move(list);
    out["usage"] = usage_json(completion.usage);
    if (is_chat() && options_.return_token_ids && !head.prompt_token_ids.empty()) {
      out["prompt_token_ids"] = ids_json(head.prompt_token_ids[0]);
    }
    return write_json(out);
  }

  const char* stream_content_type() const override { return "text/event-stream"; }

 private:
  bool is_chat() const { return options_.kind == RenderOptions::Kind::kChat; }
  const char* chunk_object_name() const {
    return is_chat() ? "chat.completion.chunk" : "text_completion";
  }

  void check_choice(const OutputDelta& delta) const {
    TUTTI_CHECK(delta.choice >= 0 && delta.choice < options_.num_choices)
        << "choice " << delta.choice << " of " << options_.num_choices;
  }

  json::object head_json(const char* object) const {
    return {{"id", (is_chat() ? "chatcmpl-" : "cmpl-") + head_.id},
            {"object", object},
            {"created", head_.created_unix_seconds},
            {"model", head_.model},
            {"system_fingerprint", kFingerprint}};
  }

  json::object chunk(json::object choice) const {
    json::object out = head_json(chunk_object_name());
    out["choices"] = json::array{std::move(choice)};
    if (options_.continuous_usage) {
      out["usage"] = usage_json(usage_);
    } else if (options_.include_usage) {
      out["usage"] = nullptr;
    }
    return out;
  }

  std::size_t prompt_index(int choice) const {
    return static_cast<std::size_t>(choice / std::max(options_.choices_per_prompt, 1));
  }

  std::string echoed(int choice) const {
    const std::size_t prompt = prompt_index(choice);
    return options_.echo && prompt < head_.echo.size() ? head_.echo[prompt] : std::string();
  }

  const std::vector<TokenId>* prompt_ids(int choice) const {
    const std::size_t prompt = prompt_index(choice);
    if (!options_.return_token_ids || prompt >= head_.prompt_token_ids.size()) return nullptr;
    return &head_.prompt_token_ids[prompt];
  }

  // The first chunk of a choice: a chat's role, a completion's echo; and the prompt's ids.
  std::string opening(int index) const {
    const std::string echo = echoed(index);
    const std::vector<TokenId>* ids = prompt_ids(index);
    json::object choice{{"index", index}};
    if (is_chat()) {
      choice["delta"] = json::object{{"role", "assistant"}, {"content", ""}};
    } else if (!echo.empty() || ids != nullptr) {
      choice["text"] = echo;
    } else {
      return {};
    }
    choice["logprobs"] = nullptr;
    choice["finish_reason"] = nullptr;
    if (!is_chat() && ids != nullptr) choice["prompt_token_ids"] = ids_json(*ids);
    json::object out = chunk(std::move(choice));
    if (is_chat() && ids != nullptr) out["prompt_token_ids"] = ids_json(*ids);
    return event(out);
  }

  json::object streamed_choice(int index, const std::string& text,
                               const std::vector<OutputToken>& tokens) {
    json::object choice{{"index", index}};
    if (is_chat()) {
      choice["delta"] = json::object{{"content", text}};
    } else {
      choice["text"] = text;
    }
    choice["logprobs"] = tokens.empty() ? json::value(nullptr) : logprobs_json(index, tokens);
    if (options_.return_token_ids) choice["token_ids"] = token_ids_json(tokens, {});
    return choice;
  }

  json::object whole_choice(int index, WholeChoice& whole) {
    json::object choice{{"index", index}};
    if (is_chat()) {
      choice["message"] = json::object{{"role", "assistant"},
                                       {"content", whole.text},
                                       {"refusal", nullptr},
                                       {"reasoning", nullptr},
                                       {"reasoning_content", nullptr}};
    } else {
      choice["text"] = echoed(index) + whole.text;
    }
    choice["logprobs"] = logprobs_json(index, whole.tokens);
    choice["finish_reason"] = std::move(whole.finish_reason);
    choice["stop_reason"] = std::move(whole.stop_reason);
    if (options_.return_token_ids) {
      choice["token_ids"] = token_ids_json(whole.tokens, whole.end_token);
      const std::vector<TokenId>* ids = prompt_ids(index);
      if (!is_chat() && ids != nullptr) choice["prompt_token_ids"] = ids_json(*ids);
    }
    return choice;
  }

  json::value logprobs_json(int index, const std::vector<OutputToken>& tokens) {
    if (!options_.logprobs) return nullptr;
    if (!is_chat()) return completion_logprobs_[static_cast<std::size_t>(index)].next(tokens);
    json::array content;
    for (const OutputToken& token : tokens) content.push_back(token_logprob(token));
    return json::object{{"content", std::move(content)}, {"refusal", nullptr}};
  }

  // As many as usage counts, so the token that ended the choice is one of them, as with vLLM.
  static json::array token_ids_json(const std::vector<OutputToken>& tokens,
                                    const std::optional<TokenId>& end_token) {
    json::array ids;
    for (const OutputToken& token : tokens) ids.emplace_back(token.token.id);
    if (end_token) ids.emplace_back(*end_token);
    return ids;
  }

  const RenderOptions options_;
  ResponseHead head_;
  Usage usage_;                                          // so far, for continuous_usage_stats
  std::vector<CompletionLogprobs> completion_logprobs_;  // one for each choice
};

}  // namespace

RenderOptions render_options(const Request& request) {
  RenderOptions options;
  options.num_choices = static_cast<int>(request.prompts.size()) * request.n;
  options.choices_per_prompt = request.n;
  options.logprobs = request.sampling.logprobs;
  options.top_logprobs = request.sampling.top_logprobs;
  options.echo = request.echo;
  options.include_usage = request.include_usage;
  options.continuous_usage = request.continuous_usage_stats;
  options.return_token_ids = request.return_token_ids;
  return options;
}

std::unique_ptr<ResponseRenderer> make_renderer(const RenderOptions& options) {
  return std::make_unique<Renderer>(options);
}

}  // namespace tutti::dialects::openai
