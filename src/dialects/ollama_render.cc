#include "dialects/ollama_render.h"

#include <boost/json.hpp>
#include <chrono>

#include "base/json.h"
#include "dialects/logprobs.h"
#include "dialects/ollama.h"

namespace tutti::dialects::ollama {
namespace {

std::int64_t nanoseconds(Duration duration) {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(duration).count();
}

std::string line(const json::object& object) { return write_json(object) + "\n"; }

class Renderer final : public ResponseRenderer {
 public:
  explicit Renderer(const RenderOptions& options) : options_(options) {}

  std::string begin(const ResponseHead& head) override {
    head_ = head;
    return {};
  }

  std::string delta(const OutputDelta& delta) override {
    if (delta.finish_reason) finish_reason_ = delta.finish_reason;
    if (delta.text.empty() && delta.tokens.empty()) return {};
    json::object out = head_json(delta.text);
    out["done"] = false;
    if (options_.logprobs) out["logprobs"] = logprobs_json(delta.tokens);
    return line(out);
  }

  std::string end(const Completion& completion) override {
    return line(final_json("", completion));
  }

  // Every line is an object that clients read.
  std::string keep_alive() override { return {}; }

  std::string error(const Status& status) override { return render_error(status).body + "\n"; }

  std::string whole(const ResponseHead& head, const std::vector<OutputDelta>& deltas,
                    const Completion& completion) override {
    head_ = head;
    std::string text;
    std::vector<OutputToken> tokens;
    for (const OutputDelta& delta : deltas) {
      text += delta.text;
      tokens.insert(tokens.end(), delta.tokens.begin(), delta.tokens.end());
      if (delta.finish_reason) finish_reason_ = delta.finish_reason;
    }
    json::object out = final_json(text, completion);
    if (options_.logprobs) out["logprobs"] = logprobs_json(tokens);
    return write_json(out);
  }

  const char* stream_content_type() const override { return "application/x-ndjson"; }

 private:
  json::object head_json(const std::string& text) const {
    json::object out{{"model", head_.model}, {"created_at", head_.created_rfc3339}};
    if (options_.kind == RenderOptions::Kind::kChat) {
      out["message"] = json::object{{"role", "assistant"}, {"content", text}};
    } else {
      out["response"] = text;
    }
    return out;
  }

  json::object final_json(const std::string& text, const Completion& completion) const {
    json::object out = head_json(text);
    out["done"] = true;
    out["done_reason"] = done_reason();
    if (options_.load_only) return out;
    if (options_.kind == RenderOptions::Kind::kGenerate && !completion.context.empty()) {
      out["context"] = json::array(completion.context.begin(), completion.context.end());
    }
    out["total_duration"] = nanoseconds(completion.total);
    out["load_duration"] = nanoseconds(completion.load);
    out["prompt_eval_count"] = completion.usage.prompt_tokens;
    out["prompt_eval_duration"] = nanoseconds(completion.timings.prefill);
    out["eval_count"] = completion.usage.completion_tokens;
    out["eval_duration"] = nanoseconds(completion.timings.decode);
    return out;
  }

  const char* done_reason() const {
    if (options_.load_only) return "load";
    return finish_reason_ == FinishReason::kLength ? "length" : "stop";
  }

  static json::array logprobs_json(const std::vector<OutputToken>& tokens) {
    json::array out;
    for (const OutputToken& token : tokens) out.push_back(token_logprob(token));
    return out;
  }

  const RenderOptions options_;
  ResponseHead head_;
  std::optional<FinishReason> finish_reason_;
};

}  // namespace

std::unique_ptr<ResponseRenderer> make_renderer(const RenderOptions& options) {
  return std::make_unique<Renderer>(options);
}

}  // namespace tutti::dialects::ollama
