#include <fmt/format.h>

#include "dialects/openai_render.h"

#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <cmath>

#include "base/json.h"
#include "dialects/openai.h"

namespace tutti::dialects::openai {
namespace {

ResponseHead sample_head() {
  ResponseHead head;
  head.id = "7";
  head.model = "demo";
  head.created_unix_seconds = 1700000000;
  head.echo = {"Hi"};
  head.prompt_token_ids = {{3, 4}};
  head.prompt_tokens = 2;
  return head;
}

OutputToken sample_token(TokenId id, const std::string& text, float logprob) {
  OutputToken token;
  token.token = {id, text, text, logprob};
  token.top = {{id, text, text, logprob}, {id + 1, "!", "!", -2.0f}};
  return token;
}

OutputDelta sample_end(int choice, FinishReason reason) {
  OutputDelta delta;
  delta.choice = choice;
  delta.finish_reason = reason;
  return delta;
}

OutputDelta sample_delta(int choice, const std::string& text) {
  OutputDelta delta;
  delta.choice = choice;
  delta.text = text;
  delta.num_tokens = 1;
  return delta;
}

OutputDelta last_delta(int choice, FinishReason reason) {
  OutputDelta delta;
  delta.choice = choice;
  delta.finish_reason = reason;
  return delta;
}

Completion sample_completion() {
  Completion completion;
  completion.usage = {2, 3, 1};
  return completion;
}

const char* const kUsage = R"({"prompt_tokens":2,"completion_tokens":3,"total_tokens":5,)"
                           R"("prompt_tokens_details":{"cached_tokens":1},)"
                           R"("completion_tokens_details":{"reasoning_tokens":0}})";

// The JSON of each event; "[DONE]" as a string.
std::vector<json::value> events_of(const std::string& stream) {
  std::vector<json::value> events;
  std::size_t begin = 0;
  while (begin < stream.size()) {
    const std::size_t end = stream.find("\n\n", begin);
    if (end == std::string::npos || !stream.substr(begin).starts_with("data: ")) {
      ADD_FAILURE() << "not an event: " << stream.substr(begin);
      return events;
    }
    const std::string data = stream.substr(begin + 6, end - begin - 6);
    events.push_back(data == "[DONE]" ? json::value(data) : json::parse(data));
    begin = end + 2;
  }
  return events;
}

json::value parse(const std::string& text) { return json::parse(text); }

// A chunk's members that are the same in all of them.
std::string chunk_head(const std::string& id, const std::string& object) {
  return R"("id":")" + id + R"(","object":")" + object +
         R"(","created":1700000000,"model":"demo","system_fingerprint":"tutti-)" TUTTI_VERSION
         R"(",)";
}

std::string chat_chunk(const std::string& choice, const std::string& rest = "") {
  return "{" + chunk_head("chatcmpl-7", "chat.completion.chunk") + R"("choices":[)" + choice + "]" +
         rest + "}";
}

std::string text_chunk(const std::string& choice, const std::string& rest = "") {
  return "{" + chunk_head("cmpl-7", "text_completion") + R"("choices":[)" + choice + "]" + rest +
         "}";
}

TEST(OpenAiChatStream, IsWhatClientsExpect) {
  auto renderer = make_renderer({});
  std::string stream = renderer->begin(sample_head());
  stream += renderer->delta(sample_delta(0, "Hel\"lo"));
  stream += renderer->delta(sample_delta(0, ""));
  OutputDelta last = last_delta(0, FinishReason::kStop);
  last.text = "!";
  last.stop_reason = "###";
  stream += renderer->delta(last);
  stream += renderer->end(sample_completion());
  const std::vector<json::value> events = events_of(stream);
  ASSERT_EQ(events.size(), 5u);
  EXPECT_EQ(events[0], parse(chat_chunk(R"({"index":0,"delta":{"role":"assistant","content":""},)"
                                        R"("logprobs":null,"finish_reason":null})")));
  EXPECT_EQ(events[1], parse(chat_chunk(R"({"index":0,"delta":{"content":"Hel\"lo"},)"
                                        R"("logprobs":null,"finish_reason":null,)"
                                        R"("stop_reason":null})")));
  EXPECT_EQ(events[2], parse(chat_chunk(R"({"index":0,"delta":{"content":"!"},"logprobs":null,)"
                                        R"("finish_reason":null,"stop_reason":null})")));
  EXPECT_EQ(events[3], parse(chat_chunk(R"({"index":0,"delta":{},"logprobs":null,)"
                                        R"("finish_reason":"stop","stop_reason":"###"})")));
  EXPECT_EQ(events[4], "[DONE]");
  EXPECT_STREQ(renderer->stream_content_type(), "text/event-stream");
}

TEST(OpenAiChatStream, UsageComesLast) {
  RenderOptions options;
  options.include_usage = true;
  auto renderer = make_renderer(options);
  const std::vector<json::value> first = events_of(renderer->begin(sample_head()));
  EXPECT_EQ(first.at(0).at("usage"), nullptr);
  const std::vector<json::value> last = events_of(renderer->end(sample_completion()));
  ASSERT_EQ(last.size(), 2u);
  EXPECT_EQ(last[0], parse(chat_chunk("", std::string(R"(,"usage":)") + kUsage)));
}

TEST(OpenAiChatStream, UsageMayComeWithEveryChunk) {
  RenderOptions options;
  options.include_usage = options.continuous_usage = true;
  auto renderer = make_renderer(options);
  EXPECT_EQ(events_of(renderer->begin(sample_head())).at(0).at("usage").at("prompt_tokens"), 2);
  renderer->delta(sample_delta(0, "a"));
  const json::value usage = events_of(renderer->delta(sample_delta(0, "b"))).at(0).at("usage");
  EXPECT_EQ(usage.at("completion_tokens"), 2);
  EXPECT_EQ(usage.at("total_tokens"), 4);
}

TEST(OpenAiChatStream, EveryChoiceBeginsAndEnds) {
  RenderOptions options;
  options.num_choices = options.choices_per_prompt = 3;
  auto renderer = make_renderer(options);
  const std::vector<json::value> begin = events_of(renderer->begin(sample_head()));
  ASSERT_EQ(begin.size(), 3u);
  EXPECT_EQ(begin[2].at("choices").at(0).at("index"), 2);
  const json::value end = events_of(renderer->delta(last_delta(1, FinishReason::kLength))).at(0);
  EXPECT_EQ(end.at("choices").at(0).at("index"), 1);
  EXPECT_EQ(end.at("choices").at(0).at("finish_reason"), "length");
}

TEST(OpenAiChatStream, LogprobsAndIds) {
  RenderOptions options;
  options.logprobs = options.return_token_ids = true;
  auto renderer = make_renderer(options);
  EXPECT_EQ(events_of(renderer->begin(sample_head())).at(0).at("prompt_token_ids"), parse("[3,4]"));
  OutputDelta delta = sample_delta(0, "é");
  delta.tokens = {sample_token(5, "é", -0.5f)};
  const json::value choice = events_of(renderer->delta(delta)).at(0).at("choices").at(0);
  EXPECT_EQ(choice.at("token_ids"), parse("[5]"));
  EXPECT_EQ(choice.at("logprobs"),
            parse(R"({"content":[{"token":"é","logprob":-0.5,"bytes":[195,169],"top_logprobs":)"
                  R"([{"token":"é","logprob":-0.5,"bytes":[195,169]},)"
                  R"({"token":"!","logprob":-2e0,"bytes":[33]}]}],"refusal":null})"));
  OutputDelta end = sample_end(0, FinishReason::kStop);
  end.end_token = 2;
  EXPECT_EQ(events_of(renderer->delta(end)).at(0).at("choices").at(0).at("token_ids"),
            parse("[2]"));
}

TEST(OpenAiChatStream, ATokenWithoutTextYetIsShown) {
  RenderOptions options;
  options.logprobs = true;
  auto renderer = make_renderer(options);
  renderer->begin(sample_head());
  OutputDelta delta = sample_delta(0, "");
  delta.tokens = {sample_token(5, "\uFFFD", -0.5f)};
  EXPECT_EQ(events_of(renderer->delta(delta)).size(), 1u);
}

TEST(OpenAiChatStream, ErrorEndsIt) {
  auto renderer = make_renderer({});
  renderer->begin(sample_head());
  const std::vector<json::value> events =
      events_of(renderer->error(Status(ErrorKind::kInternal, "at 0xdeadbeef in /home/x")));
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(events[0], parse(R"({"error":{"message":"internal error","type":"internal_error",)"
                             R"("param":null,"code":"internal_error"}})"));
  EXPECT_EQ(events[1], "[DONE]");
}

TEST(OpenAiChat, WholeResponse) {
  RenderOptions options;
  options.num_choices = options.choices_per_prompt = 2;
  auto renderer = make_renderer(options);
  OutputDelta stopped = last_delta(0, FinishReason::kStop);
  stopped.stop_reason = TokenId{9};
  const std::vector<OutputDelta> deltas = {sample_delta(1, "x"), sample_delta(0, "a"),
                                           sample_delta(0, "b"), stopped,
                                           last_delta(1, FinishReason::kLength)};
  auto choice = [](int index, const std::string& text, const std::string& end) {
    return fmt::format(
        R"({{"index":{},"message":{{"role":"assistant","content":"{}","refusal":null,)"
        R"("reasoning":null,"reasoning_content":null}},"logprobs":null,{}}})",
        index, text, end);
  };
  EXPECT_EQ(parse(renderer->whole(sample_head(), deltas, sample_completion())),
            parse("{" + chunk_head("chatcmpl-7", "chat.completion") + R"("choices":[)" +
                  choice(0, "ab", R"("finish_reason":"stop","stop_reason":9)") + "," +
                  choice(1, "x", R"("finish_reason":"length","stop_reason":null)") +
                  R"(],"usage":)" + kUsage + "}"));
}

RenderOptions completion_options() {
  RenderOptions options;
  options.kind = RenderOptions::Kind::kCompletion;
  return options;
}

TEST(OpenAiCompletionStream, IsWhatClientsExpect) {
  auto renderer = make_renderer(completion_options());
  std::string stream = renderer->begin(sample_head());
  stream += renderer->delta(sample_delta(0, "a"));
  stream += renderer->delta(last_delta(0, FinishReason::kLength));
  stream += renderer->end(sample_completion());
  const std::vector<json::value> events = events_of(stream);
  ASSERT_EQ(events.size(), 3u);
  EXPECT_EQ(events[0], parse(text_chunk(R"({"index":0,"text":"a","logprobs":null,)"
                                        R"("finish_reason":null,"stop_reason":null})")));
  EXPECT_EQ(events[1], parse(text_chunk(R"({"index":0,"text":"","logprobs":null,)"
                                        R"("finish_reason":"length","stop_reason":null})")));
  EXPECT_EQ(events[2], "[DONE]");
}

TEST(OpenAiCompletion, EchoComesFirst) {
  RenderOptions options = completion_options();
  options.echo = true;
  const std::vector<json::value> events = events_of(make_renderer(options)->begin(sample_head()));
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].at("choices").at(0).at("text"), "Hi");
  const json::value whole = parse(make_renderer(options)->whole(
      sample_head(), {sample_delta(0, "!"), last_delta(0, FinishReason::kStop)},
      sample_completion()));
  EXPECT_EQ(whole.at("choices").at(0).at("text"), "Hi!");
}

TEST(OpenAiCompletion, EchoOfTheRightPrompt) {
  RenderOptions options = completion_options();
  options.echo = true;
  options.num_choices = 4;
  options.choices_per_prompt = 2;
  ResponseHead head = sample_head();
  head.echo = {"A", "B"};
  const json::value whole = parse(make_renderer(options)->whole(head, {}, sample_completion()));
  EXPECT_EQ(whole.at("choices").at(1).at("text"), "A");
  EXPECT_EQ(whole.at("choices").at(2).at("text"), "B");
}

TEST(OpenAiCompletion, LogprobsGrowWithTheAnswer) {
  RenderOptions options = completion_options();
  options.logprobs = true;
  options.top_logprobs = 2;
  auto renderer = make_renderer(options);
  renderer->begin(sample_head());
  OutputDelta first = sample_delta(0, "né");
  first.tokens = {sample_token(5, "né", -0.5f)};
  renderer->delta(first);
  OutputDelta second = sample_delta(0, "b");
  second.tokens = {sample_token(7, "b", -INFINITY)};
  const json::value choice = events_of(renderer->delta(second)).at(0).at("choices").at(0);
  EXPECT_EQ(choice.at("logprobs"),
            parse(R"({"text_offset":[2],"token_logprobs":[-9999e0],"tokens":["b"],)"
                  R"("top_logprobs":[{"b":-9999e0,"!":-2e0}]})"));
}

TEST(OpenAiCompletion, IdsOfEachChoice) {
  RenderOptions options = completion_options();
  options.return_token_ids = true;
  OutputDelta delta = sample_delta(0, "a");
  delta.tokens = {sample_token(5, "a", 0)};
  OutputDelta end = sample_end(0, FinishReason::kStop);
  end.end_token = 2;
  const json::value choice =
      parse(make_renderer(options)->whole(sample_head(), {delta, end}, sample_completion()))
          .at("choices")
          .at(0);
  EXPECT_EQ(choice.at("token_ids"), parse("[5,2]"));
  EXPECT_EQ(choice.at("prompt_token_ids"), parse("[3,4]"));
  EXPECT_EQ(choice.at("logprobs"), nullptr) << "ids alone are no logprobs";
}

TEST(OpenAiErrors, EveryKindHasItsStatus) {
  struct Case {
    ErrorKind kind;
    int status;
    std::string type;
  };
  for (const Case& c : {Case{ErrorKind::kInvalidArgument, 400, "invalid_request_error"},
                        Case{ErrorKind::kUnsupported, 400, "invalid_request_error"},
                        Case{ErrorKind::kNotFound, 404, "not_found_error"},
                        Case{ErrorKind::kTooLarge, 413, "invalid_request_error"},
                        Case{ErrorKind::kOverloaded, 429, "rate_limit_error"},
                        Case{ErrorKind::kDeadlineExceeded, 504, "timeout_error"},
                        Case{ErrorKind::kUnavailable, 503, "service_unavailable_error"},
                        Case{ErrorKind::kCorrupt, 500, "internal_error"},
                        Case{ErrorKind::kInternal, 500, "internal_error"}}) {
    const HttpError error = render_error(Status(c.kind, "0xdead /secret", "n"));
    EXPECT_EQ(error.status, c.status);
    const json::value body = parse(error.body).at("error");
    EXPECT_EQ(body.at("type"), json::value(c.type));
    EXPECT_EQ(body.at("param"), "n");
    EXPECT_EQ(error.body.find("secret") == std::string::npos, c.status == 500) << error.body;
  }
}

TEST(OpenAiModels, List) {
  EXPECT_EQ(parse(render_model_list({{"demo", 5, 2048}})),
            parse(R"({"object":"list","data":[{"id":"demo","object":"model","created":5,)"
                  R"("owned_by":"tutti","root":"demo","parent":null,"max_model_len":2048}]})"));
  EXPECT_EQ(parse(render_model({"demo", 5, 2048})).at("id"), "demo");
}

}  // namespace
}  // namespace tutti::dialects::openai
