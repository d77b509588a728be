#include <fmt/format.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json.hpp>

#include "base/json.h"
#include "dialects/openai.h"

namespace tutti::dialects::openai {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

// A chat request with further members, e.g. R"("n":2)".
std::string chat(const std::string& members) {
  return R"({"model":"m","messages":[{"role":"user","content":"hi"}])" +
         (members.empty() ? "" : "," + members) + "}";
}

std::string completion(const std::string& members) {
  return R"({"model":"m","prompt":"hi")" + (members.empty() ? "" : "," + members) + "}";
}

Request good(Result<ParsedRequest> parsed) {
  EXPECT_TRUE(parsed.ok()) << parsed.status().message();
  EXPECT_NE(parsed->renderer, nullptr);
  return std::move(parsed->request);
}

Request chat_request(const std::string& members) {
  return good(parse_chat_completion(chat(members)));
}

Request completion_request(const std::string& members) {
  return good(parse_completion(completion(members)));
}

void expect_error(const Result<ParsedRequest>& parsed, ErrorKind kind, const std::string& field) {
  ASSERT_FALSE(parsed.ok()) << "took " << field;
  EXPECT_EQ(parsed.status().kind(), kind) << parsed.status().message();
  EXPECT_EQ(parsed.status().field(), field) << parsed.status().message();
}

void expect_bad_chat(const std::string& members, const std::string& field,
                     ErrorKind kind = ErrorKind::kInvalidArgument) {
  SCOPED_TRACE(members);
  expect_error(parse_chat_completion(chat(members)), kind, field);
}

void expect_bad_completion(const std::string& members, const std::string& field,
                           ErrorKind kind = ErrorKind::kInvalidArgument) {
  SCOPED_TRACE(members);
  expect_error(parse_completion(completion(members)), kind, field);
}

json::array messages_of(const std::string& messages) {
  const Request request = good(parse_chat_completion(R"({"messages":)" + messages + "}"));
  return std::get<ChatPrompt>(request.prompts.at(0)).messages;
}

void expect_bad_messages(const std::string& messages, const std::string& field,
                         ErrorKind kind = ErrorKind::kInvalidArgument) {
  SCOPED_TRACE(messages);
  expect_error(parse_chat_completion(R"({"messages":)" + messages + "}"), kind, field);
}

TEST(OpenAiRequest, DefaultsOfAChat) {
  const Request request = chat_request("");
  EXPECT_EQ(request.model, "m");
  EXPECT_EQ(request.n, 1);
  EXPECT_FALSE(request.stream);
  EXPECT_EQ(request.sampling.max_tokens, kUnlimitedTokens);
  EXPECT_FALSE(request.given.max_tokens);
  EXPECT_FALSE(request.given.temperature);
  EXPECT_FALSE(request.given.seed);
  const ChatPrompt& prompt = std::get<ChatPrompt>(request.prompts.at(0));
  EXPECT_TRUE(prompt.add_generation_prompt);
  EXPECT_FALSE(prompt.add_special_tokens);
  EXPECT_TRUE(request.skip_special_tokens);
}

TEST(OpenAiRequest, DefaultsOfACompletion) {
  const Request request = completion_request("");
  EXPECT_EQ(request.sampling.max_tokens, 16);
  EXPECT_TRUE(request.clamp_max_tokens) << "nobody asked for 16";
  EXPECT_TRUE(std::get<TextPrompt>(request.prompts.at(0)).add_special_tokens);
}

TEST(OpenAiRequest, EverySamplingFieldArrives) {
  const Request request = chat_request(
      R"("temperature":0.5,"top_p":0.25,"top_k":7,"min_p":0.125,"typical_p":0.75,)"
      R"("repetition_penalty":1.5,"repeat_last_n":33,"frequency_penalty":-1.5,)"
      R"("presence_penalty":2,"logit_bias":{"7":-100,"0":1.5},"seed":-7,"stop":["a","b"],)"
      R"("stop_token_ids":[1,2],"min_tokens":3,"max_tokens":9,"ignore_eos":true,"n":4,)"
      R"("logprobs":true,"top_logprobs":5,"include_stop_str_in_output":true,)"
      R"("skip_special_tokens":false,"truncate_prompt_tokens":11,"return_token_ids":true,)"
      R"("request_id":"abc")");
  const SamplingParams& sampling = request.sampling;
  EXPECT_EQ(sampling.temperature, 0.5);
  EXPECT_EQ(sampling.top_p, 0.25);
  EXPECT_EQ(sampling.top_k, 7);
  EXPECT_EQ(sampling.min_p, 0.125);
  EXPECT_EQ(sampling.typical_p, 0.75);
  EXPECT_EQ(sampling.repeat_penalty, 1.5);
  EXPECT_EQ(sampling.repeat_last_n, 33);
  EXPECT_EQ(sampling.frequency_penalty, -1.5);
  EXPECT_EQ(sampling.presence_penalty, 2);
  EXPECT_THAT(sampling.logit_bias, ElementsAre(Pair(7, -100.0f), Pair(0, 1.5f)));
  EXPECT_EQ(sampling.seed, static_cast<std::uint64_t>(-7));
  EXPECT_THAT(request.stop, ElementsAre("a", "b"));
  EXPECT_THAT(sampling.stop_token_ids, ElementsAre(1, 2));
  EXPECT_EQ(sampling.min_tokens, 3);
  EXPECT_EQ(sampling.max_tokens, 9);
  EXPECT_TRUE(sampling.ignore_eos);
  EXPECT_TRUE(sampling.logprobs);
  EXPECT_EQ(sampling.top_logprobs, 5);
  EXPECT_EQ(request.n, 4);
  EXPECT_TRUE(request.include_stop_str_in_output);
  EXPECT_FALSE(request.skip_special_tokens);
  EXPECT_EQ(request.truncate_prompt_tokens, 11);
  EXPECT_TRUE(request.return_token_ids);
  EXPECT_EQ(request.request_id, "abc");
  const Request::Given& given = request.given;
  EXPECT_TRUE(given.temperature && given.top_k && given.top_p && given.min_p &&
              given.repeat_penalty && given.max_tokens && given.seed);
  EXPECT_FALSE(request.clamp_max_tokens);
}

TEST(OpenAiRequest, TakesWhatRealClientsSend) {
  chat_request(
      R"("user":"u","store":false,"metadata":{"a":"b"},"service_tier":"auto","n":1,)"
      R"("parallel_tool_calls":true,"stream_options":null,"tools":[],"tool_choice":"none",)"
      R"("response_format":{"type":"text"},"logit_bias":{},"modalities":["text"],)"
      R"("prediction":null,"functions":null,"function_call":null,"audio":null,)"
      R"("reasoning_effort":"low","temperature":null,"max_tokens":null,"seed":null,)"
      R"("stop":[],"cache_prompt":true)" +
      std::string());
}

TEST(OpenAiRequest, SmallestGivenMaximumHolds) {
  EXPECT_EQ(chat_request(R"("max_tokens":5,"max_completion_tokens":3)").sampling.max_tokens, 3);
  EXPECT_EQ(chat_request(R"("max_completion_tokens":8)").sampling.max_tokens, 8);
}

TEST(OpenAiRequest, TinyTemperatureIsGreedy) {
  EXPECT_EQ(chat_request(R"("temperature":1e-300)").sampling.temperature, 0);
}

TEST(OpenAiRequest, SeedOfMinusOneIsRandom) {
  EXPECT_FALSE(chat_request(R"("seed":-1)").given.seed);
  EXPECT_EQ(chat_request(R"("seed":9223372036854775807)").sampling.seed, 9223372036854775807u);
}

TEST(OpenAiRequest, RefusesWhatDoesNotFitTogether) {
  expect_bad_chat(R"("stream_options":{"include_usage":true})", "stream_options");
  expect_bad_chat(R"("stream":true,"stream_options":{"continuous_usage_stats":true})",
                  "stream_options.continuous_usage_stats");
  expect_bad_chat(R"("stream":true,"stream_options":{"foo":1})", "stream_options.foo");
  expect_bad_chat(R"("top_logprobs":2)", "top_logprobs");
  expect_bad_chat(R"("logprobs":false,"top_logprobs":2)", "top_logprobs");
  expect_bad_chat(R"("min_tokens":5,"max_tokens":4)", "min_tokens");
  expect_bad_chat(R"("repeat_penalty":1,"repetition_penalty":1)", "repeat_penalty");
  expect_bad_chat(R"("continue_final_message":true,"add_generation_prompt":true)",
                  "continue_final_message");
  expect_bad_completion(R"("best_of":1,"n":2)", "best_of");
  expect_bad_completion(R"("best_of":3,"n":2)", "best_of", ErrorKind::kUnsupported);
  expect_bad_completion(R"("echo":true,"logprobs":0)", "echo", ErrorKind::kUnsupported);
  expect_bad_completion(R"("suffix":"x")", "suffix", ErrorKind::kUnsupported);
  EXPECT_EQ(completion_request(R"("best_of":2,"n":2)").n, 2);
}

TEST(OpenAiRequest, RefusesBadValuesInLists) {
  expect_bad_chat(R"("stop":"")", "stop");
  expect_bad_chat(R"("stop":["a",""])", "stop[1]");
  expect_bad_chat(R"("stop":["a",5])", "stop[1]");
  expect_bad_chat(R"("stop":[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17])", "stop");
  expect_bad_chat(R"("stop_token_ids":[1,-1])", "stop_token_ids[1]");
  expect_bad_chat(R"("stop_token_ids":[2147483648])", "stop_token_ids[0]");
  expect_bad_chat(R"("stop_token_ids":[1.5])", "stop_token_ids[0]");
  for (const char* key : {"", "a", "-1", "+1", "01", " 1", "1.0", "2147483648", "99999999999999"}) {
    expect_bad_chat(fmt::format(R"("logit_bias":{{"{}":1}})", key), "logit_bias");
  }
  expect_bad_chat(R"("logit_bias":{"5":101})", "logit_bias.5");
  expect_bad_chat(R"("logit_bias":{"5":"1"})", "logit_bias.5");
  expect_bad_chat(R"("request_id":"a b")", "request_id");
  expect_bad_chat(R"("metadata":{"a":1})", "metadata.a");
  expect_bad_chat(R"("reasoning_effort":"very")", "reasoning_effort");
  expect_bad_chat(R"("chat_template_kwargs":{"messages":[]})", "chat_template_kwargs.messages");
}

TEST(OpenAiRequest, UnknownFieldsAreNamed) {
  const auto parsed = parse_chat_completion(chat(R"("foo":1)"));
  ASSERT_FALSE(parsed.ok());
  EXPECT_EQ(parsed.status().message(), "Unrecognized request argument supplied: foo");
  EXPECT_EQ(parsed.status().field(), "foo");
}

TEST(OpenAiRequest, RefusesWhatIsNotBuilt) {
  expect_bad_chat(R"("tools":[{"type":"function","function":{"name":"f"}}])", "tools",
                  ErrorKind::kUnsupported);
  expect_bad_chat(R"("response_format":{"type":"json_object"})", "response_format",
                  ErrorKind::kUnsupported);
  expect_bad_chat(R"("tool_choice":"required")", "tool_choice", ErrorKind::kUnsupported);
  expect_bad_chat(R"("chat_template":"{{x}}")", "chat_template", ErrorKind::kUnsupported);
}

TEST(OpenAiRequest, RefusesBodiesThatAreNoRequest) {
  for (std::string body : {"", "[]", "5", "\"x\"", "{", "{}", R"({"model":"m"})", "nullx",
                           R"({"messages":[],"messages":[]})", "{\"messages\":\"\xff\"}",
                           R"({"messages":[],"temperature":NaN})"}) {
    EXPECT_FALSE(parse_chat_completion(body).ok()) << body;
    EXPECT_FALSE(parse_completion(body).ok()) << body;
  }
  EXPECT_FALSE(parse_chat_completion(std::string(1000000, '[')).ok());
}

TEST(OpenAiMessages, AreShapedForTemplates) {
  const json::array messages = messages_of(
      R"([{"role":"developer","content":"be nice","name":"boss"},)"
      R"({"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]},)"
      R"({"role":"assistant","content":null,"refusal":null,"reasoning":"hm","tool_calls":[)"
      R"({"id":"c1","type":"function","function":{"name":"f","arguments":"{\"x\":1}"}}]},)"
      R"({"role":"tool","content":"2","tool_call_id":"c1"}])");
  EXPECT_EQ(
      messages,
      json::parse(
          R"([{"role":"system","content":"be nice","name":"boss"},{"role":"user","content":"a\nb"},)"
          R"({"role":"assistant","content":"","reasoning_content":"hm","tool_calls":[)"
          R"({"id":"c1","type":"function","function":{"name":"f","arguments":{"x":1}}}]},)"
          R"({"role":"tool","content":"2","tool_call_id":"c1"}])"));
}

TEST(OpenAiMessages, ErrorsNameThePlace) {
  expect_bad_messages("[]", "messages");
  expect_bad_messages("5", "messages");
  expect_bad_messages("[5]", "messages[0]");
  expect_bad_messages(R"([{"content":"x"}])", "messages[0].role");
  expect_bad_messages(R"([{"role":"boss","content":"x"}])", "messages[0].role");
  expect_bad_messages(R"([{"role":"user"}])", "messages[0].content");
  expect_bad_messages(R"([{"role":"user","content":null}])", "messages[0].content");
  expect_bad_messages(R"([{"role":"user","content":"x"},{"role":"user","content":5}])",
                      "messages[1].content");
  expect_bad_messages(R"([{"role":"user","content":[{"type":"text"}]}])",
                      "messages[0].content[0].text");
  expect_bad_messages(R"([{"role":"user","content":[{"type":"nope"}]}])",
                      "messages[0].content[0].type");
  expect_bad_messages(
      R"([{"role":"user","content":[{"type":"image_url","image_url":{"url":"file:///etc"}}]}])",
      "messages[0].content[0].type", ErrorKind::kUnsupported);
  expect_bad_messages(R"([{"role":"user","content":"x","foo":1}])", "messages[0].foo");
  expect_bad_messages(R"([{"role":"user","content":"x","tool_calls":[{"function":{"name":"f"}}]}])",
                      "messages[0].tool_calls");
  expect_bad_messages(
      R"([{"role":"assistant","tool_calls":[{"function":{"name":"f","arguments":"{"}}]}])",
      "messages[0].tool_calls[0].function.arguments");
  expect_bad_messages(R"([{"role":"assistant","reasoning":"a","reasoning_content":"b"}])",
                      "messages[0].reasoning_content");
}

TEST(OpenAiMessages, CanBeContinued) {
  const Request request = chat_request(R"("continue_final_message":true)");
  const ChatPrompt& prompt = std::get<ChatPrompt>(request.prompts.at(0));
  EXPECT_TRUE(prompt.continue_final_message);
  EXPECT_FALSE(prompt.add_generation_prompt);
}

TEST(OpenAiMessages, TemplateVariables) {
  const Request request =
      chat_request(R"("chat_template_kwargs":{"enable_thinking":true},"reasoning_effort":"high")");
  EXPECT_EQ(std::get<ChatPrompt>(request.prompts.at(0)).template_variables,
            json::parse(R"({"enable_thinking":true,"reasoning_effort":"high"})"));
}

TEST(OpenAiPrompts, TakesTextIdsAndListsOfEither) {
  auto prompts = [](const std::string& prompt) {
    return good(parse_completion(R"({"prompt":)" + prompt + "}")).prompts;
  };
  EXPECT_EQ(std::get<TextPrompt>(prompts(R"("a")").at(0)).text, "a");
  EXPECT_EQ(prompts(R"(["a","b"])").size(), 2u);
  EXPECT_EQ(std::get<TextPrompt>(prompts(R"(["a","b"])").at(1)).text, "b");
  EXPECT_THAT(std::get<TokensPrompt>(prompts("[1,2,3]").at(0)).tokens, ElementsAre(1, 2, 3));
  EXPECT_EQ(prompts("[[1,2],[3]]").size(), 2u);
  EXPECT_THAT(std::get<TokensPrompt>(prompts("[[1,2],[3]]").at(1)).tokens, ElementsAre(3));
}

TEST(OpenAiPrompts, RefusesOthers) {
  auto expect_bad = [](const std::string& prompt, const std::string& field) {
    SCOPED_TRACE(prompt);
    expect_error(parse_completion(R"({"prompt":)" + prompt + "}"), ErrorKind::kInvalidArgument,
                 field);
  };
  expect_bad("[]", "prompt");
  expect_bad("5", "prompt");
  expect_bad("null", "prompt");
  expect_bad("{}", "prompt");
  expect_bad("[[]]", "prompt[0]");
  expect_bad(R"(["a",5])", "prompt[1]");
  expect_bad(R"([1,"a"])", "prompt[1]");
  expect_bad("[1,-2]", "prompt[1]");
  expect_bad("[[1],[2,2147483648]]", "prompt[1][1]");
  expect_bad("[1.5]", "prompt[0]");
  expect_bad("[true]", "prompt[0]");
}

TEST(OpenAiPrompts, ChoicesOfAllPromptsAreBounded) {
  std::string prompts = R"("a")";
  for (int i = 1; i < 200; ++i) prompts += R"(,"a")";
  expect_error(parse_completion(R"({"n":128,"prompt":[)" + prompts + "]}"),
               ErrorKind::kInvalidArgument, "n");
}

}  // namespace
}  // namespace tutti::dialects::openai
