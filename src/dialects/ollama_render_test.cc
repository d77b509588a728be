#include "dialects/ollama_render.h"

#include <gtest/gtest.h>

#include <boost/json.hpp>

#include "base/json.h"
#include "dialects/ollama.h"

namespace tutti::dialects::ollama {
namespace {

using Kind = RenderOptions::Kind;

ResponseHead sample_head() {
  ResponseHead head;
  head.model = "demo:latest";
  head.created_rfc3339 = "2026-01-02T03:04:05.6Z";
  return head;
}

Completion sample_completion() {
  Completion completion;
  completion.usage = {2, 3, 0};
  completion.timings.prefill = std::chrono::milliseconds(5);
  completion.timings.decode = std::chrono::milliseconds(7);
  completion.load = std::chrono::microseconds(1);
  completion.total = std::chrono::seconds(9);
  completion.context = {1, 2, 3};
  return completion;
}

OutputDelta text_delta(const std::string& text) {
  OutputDelta delta;
  delta.text = text;
  return delta;
}

OutputDelta finish_delta(FinishReason reason) {
  OutputDelta delta;
  delta.finish_reason = reason;
  return delta;
}

const std::string kHead = R"("model":"demo:latest","created_at":"2026-01-02T03:04:05.6Z",)";
const std::string kCounts =
    R"("total_duration":9000000000,"load_duration":1000,"prompt_eval_count":2,)"
    R"("prompt_eval_duration":5000000,"eval_count":3,"eval_duration":7000000)";

TEST(OllamaChatStream, IsLinesOfJson) {
  auto renderer = make_renderer({Kind::kChat, false, false});
  EXPECT_EQ(renderer->begin(sample_head()), "");
  const std::string line = renderer->delta(text_delta("a\nb"));
  EXPECT_EQ(line.find('\n'), line.size() - 1);
  EXPECT_EQ(json::parse(line), json::parse("{" + kHead +
                                           R"("message":{"role":"assistant","content":"a\nb"},)"
                                           R"("done":false})"));
  EXPECT_EQ(renderer->delta(finish_delta(FinishReason::kLength)), "");
  EXPECT_EQ(json::parse(renderer->end(sample_completion())),
            json::parse("{" + kHead +
                        R"("message":{"role":"assistant","content":""},)"
                        R"("done":true,"done_reason":"length",)" +
                        kCounts + "}"));
  EXPECT_STREQ(renderer->stream_content_type(), "application/x-ndjson");
}

TEST(OllamaGenerate, EndsWithItsContext) {
  auto renderer = make_renderer({Kind::kGenerate, false, false});
  EXPECT_EQ(
      json::parse(renderer->whole(
          sample_head(), {text_delta("a"), text_delta("b"), finish_delta(FinishReason::kStop)},
          sample_completion())),
      json::parse("{" + kHead +
                  R"("response":"ab","done":true,"done_reason":"stop",)"
                  R"("context":[1,2,3],)" +
                  kCounts + "}"));
}

TEST(OllamaGenerate, LoadingHasItsReason) {
  auto renderer = make_renderer({Kind::kGenerate, false, true});
  EXPECT_EQ(json::parse(renderer->whole(sample_head(), {}, {})),
            json::parse("{" + kHead + R"("response":"","done":true,"done_reason":"load"})"));
}

TEST(OllamaChat, Logprobs) {
  auto renderer = make_renderer({Kind::kChat, true, false});
  renderer->begin(sample_head());
  OutputDelta delta = text_delta("a");
  OutputToken token;
  token.token = {5, "a", "a", -0.5f};
  token.top = {{5, "a", "a", -0.5f}};
  delta.tokens = {token};
  EXPECT_EQ(json::parse(renderer->delta(delta)).at("logprobs"),
            json::parse(R"([{"token":"a","logprob":-0.5,"bytes":[97],)"
                        R"("top_logprobs":[{"token":"a","logprob":-0.5,"bytes":[97]}]}])"));
}

TEST(OllamaErrors, EveryKindHasItsStatus) {
  EXPECT_EQ(render_error(invalid_argument("n", "bad n")).status, 400);
  EXPECT_EQ(render_error(invalid_argument("n", "bad n")).body, R"({"error":"bad n"})");
  EXPECT_EQ(render_error(unsupported("no tools", "tools")).status, 400);
  EXPECT_EQ(render_error(not_found("model 'x' not found")).status, 404);
  const HttpError overloaded = render_error(Status(ErrorKind::kOverloaded, "queue of 3"));
  EXPECT_EQ(overloaded.status, 503);
  EXPECT_EQ(overloaded.body,
            R"({"error":"server busy, please try again.  maximum pending requests exceeded"})");
  const HttpError internal = render_error(Status(ErrorKind::kInternal, "0xdead"));
  EXPECT_EQ(internal.status, 500);
  EXPECT_EQ(internal.body, R"({"error":"internal error"})");
  auto renderer = make_renderer({});
  EXPECT_EQ(renderer->error(not_found("gone")), "{\"error\":\"gone\"}\n");
}

ModelCard sample_card() {
  ModelCard card;
  card.name = "demo:latest";
  card.modified_at = "2026-01-02T03:04:05Z";
  card.size_bytes = 5;
  card.digest = std::string(64, 'a');
  card.format = "gguf";
  card.family = "llama";
  card.parameter_size = "1B";
  card.quantization_level = "BF16";
  card.context_length = 2048;
  card.embedding_length = 64;
  card.capabilities = {"completion"};
  return card;
}

const std::string kDetails =
    R"("details":{"parent_model":"","format":"gguf","family":"llama","families":["llama"],)"
    R"("parameter_size":"1B","quantization_level":"BF16","context_length":2048,)"
    R"("embedding_length":64})";

TEST(OllamaModels, Tags) {
  const std::string digest(64, 'a');
  EXPECT_EQ(
      json::parse(render_tags({sample_card()})),
      json::parse(R"({"models":[{"name":"demo:latest","model":"demo:latest","size":5,)"
                  R"("digest":")" +
                  digest + R"(",)" + kDetails +
                  R"(,"modified_at":"2026-01-02T03:04:05Z","capabilities":["completion"]}]})"));
  EXPECT_EQ(render_tags({}), R"({"models":[]})");
}

TEST(OllamaModels, Ps) {
  const json::value model =
      json::parse(render_ps({{sample_card(), "2027-01-01T00:00:00Z"}})).at("models").at(0);
  EXPECT_EQ(model.at("expires_at"), "2027-01-01T00:00:00Z");
  EXPECT_EQ(model.at("context_length"), 2048);
  EXPECT_EQ(model.at("size_vram"), 0);
}

TEST(OllamaModels, Show) {
  ModelDetails details;
  details.card = sample_card();
  details.chat_template = "{{ x }}";
  details.model_info = {{"general.architecture", "llama"}};
  details.tensors = {json::object{{"name", "t"}}};
  const json::value brief = json::parse(render_show(details, false));
  EXPECT_EQ(brief.at("template"), "{{ x }}");
  EXPECT_EQ(brief.at("model_info").at("general.architecture"), "llama");
  EXPECT_EQ(brief.at("capabilities"), json::parse(R"(["completion"])"));
  EXPECT_FALSE(brief.as_object().contains("tensors"));
  EXPECT_TRUE(json::parse(render_show(details, true)).as_object().contains("tensors"));
}

TEST(OllamaModels, Version) {
  EXPECT_TRUE(json::parse(render_version()).at("version").is_string());
}

}  // namespace
}  // namespace tutti::dialects::ollama
