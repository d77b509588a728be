#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json.hpp>

#include "base/json.h"
#include "dialects/go_duration.h"
#include "dialects/ollama.h"

namespace tutti::dialects::ollama {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// A request with further members, e.g. R"("raw":true)".
Result<ParsedRequest> parse_generate_with(std::string_view members,
                                          std::vector<std::string>* warnings = nullptr) {
  return parse_generate(
      fmt::format(R"({{"model":"m","prompt":"hi"{}{}}})", members.empty() ? "" : ",", members),
      warnings);
}

Result<ParsedRequest> parse_chat_with(std::string_view members) {
  return parse_chat(
      fmt::format(R"({{"model":"m","messages":[{{"role":"user","content":"hi"}}]{}{}}})",
                  members.empty() ? "" : ",", members),
      nullptr);
}

ParsedRequest good(Result<ParsedRequest> parsed) {
  EXPECT_TRUE(parsed.ok()) << parsed.status().message();
  EXPECT_NE(parsed->renderer, nullptr);
  return std::move(*parsed);
}

Request generate(std::string_view members) {
  return std::move(good(parse_generate_with(members)).request);
}

ChatPrompt chat_prompt(std::string_view messages) {
  ParsedRequest parsed = good(parse_chat(fmt::format(R"({{"messages":{}}})", messages), nullptr));
  return std::get<ChatPrompt>(parsed.request.prompts.at(0));
}

void expect_error(const Result<ParsedRequest>& parsed, const std::string& field,
                  ErrorKind kind = ErrorKind::kInvalidArgument) {
  ASSERT_FALSE(parsed.ok()) << "took " << field;
  EXPECT_EQ(parsed.status().kind(), kind) << parsed.status().message();
  EXPECT_EQ(parsed.status().field(), field) << parsed.status().message();
}

TEST(OllamaRequest, Defaults) {
  const Request request = generate("");
  EXPECT_TRUE(request.stream);
  EXPECT_TRUE(request.clamp_max_tokens);
  EXPECT_TRUE(request.truncate_to_context);
  EXPECT_EQ(request.truncate_keep_tokens, 4);
  EXPECT_EQ(request.sampling.temperature, 0.8);
  EXPECT_EQ(request.sampling.top_k, 40);
  EXPECT_EQ(request.sampling.top_p, 0.9);
  EXPECT_EQ(request.sampling.repeat_last_n, 64);
  EXPECT_EQ(request.sampling.repeat_penalty, 1.0);
  EXPECT_EQ(request.sampling.max_tokens, kUnlimitedTokens);
  EXPECT_FALSE(request.given.max_tokens);
  EXPECT_FALSE(request.given.seed);
  EXPECT_FALSE(request.given.temperature || request.given.top_k || request.given.top_p);
}

TEST(OllamaRequest, EveryOptionArrives) {
  const Request request = generate(
      R"("options":{"num_keep":2,"seed":42,"num_predict":7,"top_k":3,"top_p":0.5,"min_p":0.25,)"
      R"("typical_p":0.75,"repeat_last_n":-1,"temperature":0,"repeat_penalty":1.25,)"
      R"("presence_penalty":1.5,"frequency_penalty":-0.5,"stop":["a","b"]},"stream":false,)"
      R"("truncate":false,"shift":false,"logprobs":true,"top_logprobs":3)");
  const SamplingParams& sampling = request.sampling;
  EXPECT_EQ(request.truncate_keep_tokens, 2);
  EXPECT_EQ(sampling.seed, 42u);
  EXPECT_TRUE(request.given.seed);
  EXPECT_EQ(sampling.max_tokens, 7);
  EXPECT_TRUE(request.given.max_tokens);
  EXPECT_EQ(sampling.top_k, 3);
  EXPECT_EQ(sampling.top_p, 0.5);
  EXPECT_EQ(sampling.min_p, 0.25);
  EXPECT_EQ(sampling.typical_p, 0.75);
  EXPECT_EQ(sampling.repeat_last_n, -1);
  EXPECT_EQ(sampling.temperature, 0);
  EXPECT_EQ(sampling.repeat_penalty, 1.25);
  EXPECT_EQ(sampling.presence_penalty, 1.5);
  EXPECT_EQ(sampling.frequency_penalty, -0.5);
  EXPECT_THAT(request.stop, ElementsAre("a", "b"));
  EXPECT_FALSE(request.stream);
  EXPECT_FALSE(request.truncate_to_context);
  EXPECT_TRUE(sampling.logprobs);
  EXPECT_EQ(sampling.top_logprobs, 3);
  const Request::Given& given = request.given;
  EXPECT_TRUE(given.temperature && given.top_k && given.top_p && given.min_p &&
              given.repeat_penalty);
}

TEST(OllamaRequest, NumPredictMayBeEndless) {
  for (const char* endless : {"-1", "-2", "0"}) {
    const Request request = generate(fmt::format(R"("options":{{"num_predict":{}}})", endless));
    EXPECT_EQ(request.sampling.max_tokens, kUnlimitedTokens) << endless;
  }
}

TEST(OllamaRequest, ProbabilityOfZeroStaysInTheSamplersRange) {
  EXPECT_GT(generate(R"("options":{"top_p":0})").sampling.top_p, 0);
}

TEST(OllamaRequest, UnknownAndLoadOptionsWarn) {
  std::vector<std::string> warnings;
  EXPECT_TRUE(
      parse_generate_with(R"("options":{"foo":1,"num_ctx":4096,"use_mmap":true})", &warnings).ok());
  EXPECT_THAT(warnings,
              testing::UnorderedElementsAre(HasSubstr("options.foo"), HasSubstr("options.num_ctx"),
                                            HasSubstr("options.use_mmap")));
}

TEST(OllamaRequest, ErrorsNameThePlace) {
  expect_error(parse_generate_with(R"("options":{"temperature":"hot"})"), "options.temperature");
  expect_error(parse_generate_with(R"("options":{"num_ctx":"big"})"), "options.num_ctx");
  expect_error(parse_generate_with(R"("options":{"stop":[""]})"), "options.stop[0]");
  expect_error(parse_generate_with(R"("options":[])"), "options");
  expect_error(parse_generate_with(R"("foo":1)"), "foo");
  expect_error(parse_generate_with(R"("context":[1,"2"])"), "context[1]");
  expect_error(parse_generate_with(R"("top_logprobs":3)"), "top_logprobs");
  expect_error(parse_generate_with(R"("keep_alive":"5 minutes")"), "keep_alive");
  expect_error(parse_generate_with(R"("keep_alive":[])"), "keep_alive");
  expect_error(parse_generate_with(R"("name":"other")"), "name");
  expect_error(parse_chat(R"({"messages":[{"role":"user","content":5}]})", nullptr),
               "messages[0].content");
  expect_error(parse_chat(R"({"messages":[{"content":"x"}]})", nullptr), "messages[0].role");
}

TEST(OllamaRequest, RefusesWhatIsNotBuilt) {
  constexpr ErrorKind kKind = ErrorKind::kUnsupported;
  expect_error(parse_generate_with(R"("format":"json")"), "format", kKind);
  expect_error(parse_generate_with(R"("format":{"type":"object"})"), "format", kKind);
  expect_error(parse_generate_with(R"("suffix":"x")"), "suffix", kKind);
  expect_error(parse_generate_with(R"("images":["aGk="])"), "images", kKind);
  expect_error(parse_generate_with(R"("think":true)"), "think", kKind);
  expect_error(parse_generate_with(R"("think":"high")"), "think", kKind);
  expect_error(parse_chat_with(R"("tools":[{}])"), "tools", kKind);
  expect_error(
      parse_chat(R"({"messages":[{"role":"user","content":"x","images":["aGk="]}]})", nullptr),
      "messages[0].images", kKind);
}

TEST(OllamaRequest, TakesValuesThatAskForNothing) {
  generate(R"("format":"","suffix":"","images":[],"think":null,"template":"","system":"",)"
           R"("context":[],"options":{},"keep_alive":"5m")");
  good(parse_chat_with(R"("format":null,"tools":[],"keep_alive":-1)"));
}

TEST(OllamaGenerate, PromptIsAConversation) {
  const Request request = generate(R"("system":"be nice","context":[5,6],"think":false)");
  const ChatPrompt& prompt = std::get<ChatPrompt>(request.prompts.at(0));
  EXPECT_EQ(prompt.messages, json::parse(R"([{"role":"system","content":"be nice"},)"
                                         R"({"role":"user","content":"hi"}])"));
  EXPECT_THAT(prompt.context, ElementsAre(5, 6));
  EXPECT_EQ(prompt.template_variables, json::parse(R"({"enable_thinking":false})"));
}

TEST(OllamaGenerate, RawStandsAsItIs) {
  const Request request = generate(R"("raw":true)");
  EXPECT_EQ(std::get<TextPrompt>(request.prompts.at(0)).text, "hi");
  expect_error(parse_generate_with(R"("raw":true,"system":"x")"), "system");
  expect_error(parse_generate_with(R"("raw":true,"template":"x")"), "template");
  expect_error(parse_generate_with(R"("raw":true,"context":[1])"), "context");
}

TEST(OllamaGenerate, TemplateOfTheClient) {
  const Request request = generate(R"("template":"{{ .Prompt }}","system":"s","context":[1])");
  const TemplatedPrompt& prompt = std::get<TemplatedPrompt>(request.prompts.at(0));
  EXPECT_EQ(prompt.source, "{{ .Prompt }}");
  EXPECT_EQ(prompt.system, "s");
  EXPECT_EQ(prompt.prompt, "hi");
  EXPECT_THAT(prompt.context, ElementsAre(1));
}

TEST(OllamaGenerate, EmptyPromptLoads) {
  for (const char* body :
       {R"({"model":"m"})", R"({"model":"m","prompt":""})", R"({"name":"m","keep_alive":"10m"})"}) {
    const ParsedRequest parsed = good(parse_generate(body, nullptr));
    EXPECT_TRUE(parsed.load_only) << body;
    EXPECT_EQ(parsed.request.model, "m");
    EXPECT_TRUE(parsed.request.prompts.empty());
  }
  EXPECT_TRUE(good(parse_chat(R"({"model":"m","messages":[]})", nullptr)).load_only);
  EXPECT_FALSE(good(parse_generate_with(R"("keep_alive":0)")).load_only);
}

TEST(OllamaGenerate, UnloadingIsRefused) {
  for (const char* keep_alive : {"0", "\"0\"", "\"0s\""}) {
    expect_error(
        parse_generate(fmt::format(R"({{"model":"m","keep_alive":{}}})", keep_alive), nullptr),
        "keep_alive", ErrorKind::kUnsupported);
  }
}

TEST(OllamaChat, MessagesAreShapedForTemplates) {
  const ChatPrompt prompt = chat_prompt(
      R"([{"role":"user","content":"a"},{"role":"assistant","content":"","thinking":"hm",)"
      R"("tool_calls":[{"function":{"index":0,"name":"f","arguments":{"x":1}}}]},)"
      R"({"role":"tool","content":"2","tool_name":"f"}])");
  EXPECT_EQ(
      prompt.messages,
      json::parse(
          R"([{"role":"user","content":"a"},{"role":"assistant","content":"",)"
          R"("reasoning_content":"hm","tool_calls":[{"type":"function","function":{"name":"f",)"
          R"("arguments":{"x":1}}}]},{"role":"tool","content":"2","name":"f"}])"));
  EXPECT_TRUE(prompt.add_generation_prompt);
}

TEST(OllamaChat, LastAssistantMessageIsContinued) {
  const ChatPrompt prompt =
      chat_prompt(R"([{"role":"user","content":"a"},{"role":"assistant","content":"Once"}])");
  EXPECT_TRUE(prompt.continue_final_message);
  EXPECT_FALSE(prompt.add_generation_prompt);
}

TEST(OllamaShow, TakesEitherName) {
  EXPECT_EQ(parse_show(R"({"model":"m"})")->model, "m");
  EXPECT_EQ(parse_show(R"({"name":"m"})")->model, "m");
  EXPECT_TRUE(parse_show(R"({"model":"m","verbose":true})")->verbose);
  EXPECT_FALSE(parse_show(R"({"model":5})").ok());
  EXPECT_FALSE(parse_show(R"({"model":"m","name":"n"})").ok());
  EXPECT_FALSE(parse_show(R"({"model":"m","foo":1})").ok());
  EXPECT_EQ(parse_show(R"({"model":"m","system":"s"})").status().kind(), ErrorKind::kUnsupported);
}

TEST(GoDuration, ParsesWhatGoParses) {
  EXPECT_EQ(parse_go_duration("5m"), 300);
  EXPECT_EQ(parse_go_duration("1h30m"), 5400);
  EXPECT_EQ(parse_go_duration("1.5h"), 5400);
  EXPECT_EQ(parse_go_duration("-1s"), -1);
  EXPECT_EQ(parse_go_duration("+.5s"), 0.5);
  EXPECT_EQ(parse_go_duration("0"), 0);
  EXPECT_EQ(parse_go_duration("-1"), -1);
  EXPECT_DOUBLE_EQ(*parse_go_duration("300ms2us"), 0.300002);
  EXPECT_DOUBLE_EQ(*parse_go_duration("1µs"), 1e-6);
  for (const char* wrong :
       {"", "-", "m", "5x", "5m3", "5 m", "1e3s", ".s", "1.2.3s", "inf", "nan", "--5s", "0x5s"}) {
    EXPECT_FALSE(parse_go_duration(wrong).has_value()) << wrong;
  }
  std::string endless(400, '9');
  endless += 'h';
  EXPECT_FALSE(parse_go_duration(endless).has_value());
}

TEST(OllamaNames, AreCompletedByTheirTag) {
  EXPECT_EQ(canonical_name("demo"), "demo:latest");
  EXPECT_EQ(canonical_name("demo:1b"), "demo:1b");
  EXPECT_EQ(canonical_name("registry.ollama.ai/library/demo"), "demo:latest");
  EXPECT_EQ(canonical_name("library/demo:1b"), "demo:1b");
  EXPECT_EQ(canonical_name("registry.ollama.ai/me/demo"), "me/demo:latest");
  EXPECT_EQ(canonical_name("localhost:5000/library/demo"), "localhost:5000/library/demo:latest");
  EXPECT_EQ(canonical_name("localhost:5000/me/demo"), "localhost:5000/me/demo:latest");
  EXPECT_EQ(canonical_name("localhost:5000/me/demo:x"), "localhost:5000/me/demo:x");
  EXPECT_EQ(canonical_name(""), "");
}

TEST(OllamaRequest, HasATimeout) {
  EXPECT_FALSE(generate("").timeout);
  EXPECT_EQ(generate(R"("timeout":1.5)").timeout, Duration(std::chrono::milliseconds(1500)));
  EXPECT_EQ(good(parse_chat_with(R"("timeout":2)")).request.timeout,
            Duration(std::chrono::seconds(2)));
  for (const char* bad : {"0", "-1", "86401", "\"5\"", "true"}) {
    const auto parsed = parse_generate_with(fmt::format(R"("timeout":{})", bad));
    ASSERT_FALSE(parsed.ok()) << bad;
    EXPECT_EQ(parsed.status().field(), "timeout");
    EXPECT_THAT(parsed.status().message(), HasSubstr("86400")) << bad;
  }
}

}  // namespace
}  // namespace tutti::dialects::ollama
