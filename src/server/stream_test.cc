// Answers in pieces: how they go on, end, and are given up.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <thread>
#include <vector>

#include "tests/support/server_fixture.h"

namespace tutti::server {
namespace {

using std::chrono::milliseconds;
using testing::Client;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

using StreamTest = testing::ServerTest;

TEST_F(StreamTest, StreamsServerSentEventsToTheEnd) {
  engine_.run(std::chrono::microseconds(500));
  start();
  Client client(port());
  for (int round = 0; round < 2; ++round) {
    client.post(kChat, chat(R"(,"stream":true,"max_tokens":8,)"
                            R"("stream_options":{"include_usage":true})"));
    const std::string response = client.read_until("0\r\n\r\n");
    EXPECT_THAT(response, HasSubstr("Content-Type: text/event-stream"));
    EXPECT_THAT(response, HasSubstr(R"("finish_reason":"length")"));
    EXPECT_THAT(response, HasSubstr(R"("completion_tokens":8)"));
    EXPECT_THAT(response, HasSubstr("data: [DONE]\n\n"));
  }
}

TEST_F(StreamTest, StreamsNdjsonByDefaultAndAnswersWhole) {
  engine_.run(std::chrono::microseconds(500));
  start();
  Client client(port());
  client.post("/api/generate", R"({"model":"demo","prompt":"Once","options":{"num_predict":5}})");
  std::string response = client.read_until("0\r\n\r\n");
  EXPECT_THAT(response, HasSubstr("application/x-ndjson"));
  EXPECT_THAT(response, HasSubstr(R"("done":true)"));
  EXPECT_THAT(response, HasSubstr(R"("eval_count":5)"));
  EXPECT_THAT(response, HasSubstr(R"("context":[)"));
  client.post("/v1/completions", R"({"model":"demo","prompt":["a","b"],"n":2,"max_tokens":3})");
  response = client.read_response();
  EXPECT_THAT(response, HasSubstr(R"("index":3)"));
  EXPECT_THAT(response, HasSubstr(R"("completion_tokens":12)"));
  client.post("/api/generate", R"({"model":"demo"})");
  EXPECT_THAT(client.read_response(), HasSubstr(R"("done_reason":"load")"));
}

TEST_F(StreamTest, SilentStreamsShowThatTheyLive) {
  options_.sse_keep_alive = milliseconds(150);
  start();
  Client sse(port()), ndjson(port());
  sse.post(kChat, chat(R"(,"stream":true)"));
  ndjson.post("/api/generate", R"({"prompt":"Once"})");
  ASSERT_TRUE(submitted(2));
  const std::string head = sse.read_until("\r\n\r\n");
  EXPECT_THAT(head, StartsWith("HTTP/1.1 200"));
  const std::string first = sse.read_until(": keep-alive\n\n");
  EXPECT_THAT(first, HasSubstr("assistant")) << "the header has come with the first event";
  EXPECT_THAT(sse.read_until(": keep-alive\n\n"), Not(HasSubstr("data:")));
  engine_.token(0, 300);
  engine_.finish(0, FinishReason::kStop, 2);
  EXPECT_THAT(sse.read_until("0\r\n\r\n"), HasSubstr("[DONE]"));
  engine_.finish(1, FinishReason::kStop, 2);
  const std::string lines = ndjson.read_until("0\r\n\r\n");
  EXPECT_THAT(lines, Not(HasSubstr("keep-alive")));
  EXPECT_THAT(lines, HasSubstr(R"("done":true)"));
}

TEST_F(StreamTest, FailuresBeforeTheFirstTokenHaveAStatusAndLaterOnesEndTheStream) {
  start();
  Client client(port());
  client.post(kChat, chat(R"(,"stream":true)"));
  ASSERT_TRUE(submitted(1));
  engine_.fail(0, Status(ErrorKind::kUnavailable, "the engine is gone"));
  EXPECT_THAT(client.read_response(), StartsWith("HTTP/1.1 503"));
  client.post(kChat, chat(R"(,"stream":true)"));
  ASSERT_TRUE(submitted(2));
  engine_.token(1, 300);
  EXPECT_THAT(client.read_until("\r\n\r\n"), StartsWith("HTTP/1.1 200"));
  engine_.fail(1, Status(ErrorKind::kUnavailable, "the engine is gone"));
  EXPECT_THAT(client.read_until("0\r\n\r\n"), HasSubstr("the engine is gone"));
}

TEST_F(StreamTest, AClientThatLeavesIsCancelledInEveryPhase) {
  engine_.hold(true);
  engine_.run(std::chrono::microseconds(1000));
  start();
  for (const bool stream : {false, true}) {
    const std::string body = chat(fmt::format(R"(,"max_tokens":4000,"n":2,"stream":{})", stream));
    for (const bool decoding : {false, true}) {
      engine_.hold(true);
      const std::size_t before = engine_.submitted().size();
      Client client(port());
      client.post(kChat, body);
      ASSERT_TRUE(submitted(before + 2));
      if (decoding) {
        engine_.hold(false);
        if (stream) {
          client.read_until("content");
        } else {
          std::this_thread::sleep_for(milliseconds(20));
        }
      }
      client.close();
      EXPECT_TRUE(within(milliseconds(250), [&] { return engine_.num_open() == 0; }))
          << stream << decoding;
    }
  }
}

TEST_F(StreamTest, ASlowReaderHoldsUpNobodyAndIsEnded) {
  engine_.run(std::chrono::microseconds(200));
  start();
  Client slow(port(), 4096);
  // Log-probabilities make the answer larger than all buffers between the two.
  slow.post(kChat, chat(R"(,"stream":true,"max_tokens":4000,"logprobs":true,"top_logprobs":20)"));
  ASSERT_TRUE(submitted(1));
  Client quick(port());
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < 5; ++i) {
    quick.post(kChat, chat(R"(,"stream":true,"max_tokens":10)"));
    EXPECT_THAT(quick.read_until("0\r\n\r\n"), HasSubstr("[DONE]"));
  }
  // A tenth of it without sanitizers.
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(8));
  EXPECT_TRUE(within(milliseconds(8000), [&] { return engine_.num_open() == 0; }));
  Client other(port());
  other.get("/health");
  EXPECT_THAT(other.read_until("\r\n"), StartsWith("HTTP/1.1 200"));
}

TEST_F(StreamTest, ManyStreamsAtOnceEachEndOnce) {
  engine_.run(std::chrono::microseconds(300));
  start();
  std::vector<std::unique_ptr<Client>> clients;
  for (int i = 0; i < 100; ++i) {
    clients.push_back(std::make_unique<Client>(port()));
    clients.back()->post(kChat, chat(fmt::format(R"(,"stream":true,"max_tokens":{})", 5 + i)));
  }
  for (auto& client : clients) {
    const std::string response = client->read_until("0\r\n\r\n", 20000);
    const std::size_t done = response.find("[DONE]");
    EXPECT_NE(done, std::string::npos);
    EXPECT_EQ(response.find("[DONE]", done + 1), std::string::npos);
  }
}

}  // namespace
}  // namespace tutti::server
