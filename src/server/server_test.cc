#include <fmt/format.h>

#include "server/server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <thread>

#include "tests/support/fake_engine.h"
#include "tests/support/test_client.h"

namespace tutti::server {
namespace {

using std::chrono::milliseconds;
using testing::Client;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

class ServerTest : public ::testing::Test {
 protected:
  ServerTest() {
    options_.port = 0;
    options_.header_timeout = milliseconds(400);
    options_.body_timeout = milliseconds(400);
    options_.idle_timeout = milliseconds(2000);
    options_.write_timeout = milliseconds(500);
    options_.drain_timeout = milliseconds(500);
  }
  ~ServerTest() override { stop(); }

  void start(bool with_model = true) {
    auto server = Server::start(options_);
    ASSERT_TRUE(server.ok()) << server.status().message();
    server_ = std::move(*server);
    if (with_model) {
      server_->add_model(test_.model);
      server_->set_loading_done(true);
    }
    thread_ = std::thread([this] { server_->run(); });
  }
  void stop() {
    if (!thread_.joinable()) return;
    server_->stop();
    thread_.join();
    server_.reset();
  }
  int port() const { return server_->port(); }

  static std::string chat(const std::string& extra) {
    return R"({"model":"demo","messages":[{"role":"user","content":"Hello there"}])" + extra + "}";
  }
  static constexpr const char* kChat = "/v1/chat/completions";

  // Whether the condition comes true within `limit`.
  template <typename Condition>
  static bool within(milliseconds limit, Condition condition) {
    const auto deadline = std::chrono::steady_clock::now() + limit;
    while (std::chrono::steady_clock::now() < deadline) {
      if (condition()) return true;
      std::this_thread::sleep_for(milliseconds(2));
    }
    return condition();
  }
  bool submitted(std::size_t count) {
    return within(milliseconds(3000), [&] { return engine_.submitted().size() >= count; });
  }

  ServerOptions options_;
  testing::TestModel test_ = testing::make_test_model(4096);
  testing::FakeEngine& engine_ = *test_.engine;
  std::unique_ptr<Server> server_;
  std::thread thread_;
};

TEST_F(ServerTest, KeepsAConnectionForManyRequests) {
  start();
  Client client(port());
  for (int i = 0; i < 5; ++i) {
    client.get("/health");
    EXPECT_THAT(client.read_response(), HasSubstr(R"({"status":"ok"})"));
  }
  ASSERT_TRUE(
      client.send("GET / HTTP/1.1\r\nHost: a.localhost\r\n\r\n"
                  "GET /api/version HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"));
  EXPECT_THAT(client.read_response(), HasSubstr("Ollama is running"));
  EXPECT_THAT(client.read_response(), HasSubstr("version"));
  ASSERT_TRUE(client.send("GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"));
  EXPECT_THAT(client.read_all(), HasSubstr("Connection: close"));
  EXPECT_TRUE(client.ended());
}

TEST_F(ServerTest, HeadHasTheHeaderAlone) {
  start();
  Client client(port());
  client.get("/", "HEAD");
  const std::string head = client.read_until("\r\n\r\n");
  EXPECT_THAT(head, HasSubstr("200 OK"));
  EXPECT_THAT(head, HasSubstr("Content-Length: 17"));
  client.get("/health");
  EXPECT_THAT(client.read_until("\r\n"), StartsWith("HTTP/1.1 200"));
}

TEST_F(ServerTest, ErrorsAreInTheDialectOfThePath) {
  start();
  Client client(port());
  client.get("/v1/nothing");
  std::string response = client.read_response();
  EXPECT_THAT(response, StartsWith("HTTP/1.1 404"));
  EXPECT_THAT(response, HasSubstr(R"({"error":{"message":)"));
  client.get("/api/nothing");
  EXPECT_THAT(client.read_response(), HasSubstr(R"({"error":")"));
  client.get("/v1/completions");
  response = client.read_response();
  EXPECT_THAT(response, StartsWith("HTTP/1.1 405"));
  EXPECT_THAT(response, HasSubstr("Allow: POST"));
  client.post(kChat, R"({"model":"other","messages":[{"role":"user","content":"x"}]})");
  EXPECT_THAT(client.read_response(), StartsWith("HTTP/1.1 404"));
  client.post(kChat, "[");
  EXPECT_THAT(client.read_response(), StartsWith("HTTP/1.1 400"));
}

TEST_F(ServerTest, ARequestMayHaveAsManyChoicesAsDocumented) {
  engine_.set_max_sequences(2000);
  engine_.run(std::chrono::microseconds(500));
  start();
  Client client(port());
  const auto post = [&](int num_prompts) {
    std::string prompts = "\"a\"";
    for (int i = 1; i < num_prompts; ++i) prompts += ",\"a\"";
    client.post("/v1/completions",
                fmt::format(R"({{"prompt":[{}],"n":128,"max_tokens":1}})", prompts));
    return client.read_response();
  };
  EXPECT_THAT(post(8), HasSubstr(R"("index":1023)"));
  EXPECT_THAT(post(9), StartsWith("HTTP/1.1 400"));
}

TEST_F(ServerTest, TheModelMayBeAbsentOnlyWhenThereIsOne) {
  engine_.run(std::chrono::microseconds(500));
  start();
  Client client(port());
  client.post("/v1/completions", R"({"prompt":"Once","max_tokens":1})");
  EXPECT_THAT(client.read_response(), StartsWith("HTTP/1.1 200"));
  testing::TestModel second = testing::make_test_model();
  second.model->info.name = "second:latest";
  server_->add_model(second.model);
  for (const char* path : {"/v1/completions", "/api/generate"}) {
    client.post(path, R"({"prompt":"Once","stream":false})");
    const std::string response = client.read_response();
    EXPECT_THAT(response, StartsWith("HTTP/1.1 400")) << path;
    EXPECT_THAT(response, HasSubstr("model is missing")) << path;
  }
  client.post("/v1/completions", R"({"model":"demo","prompt":"Once","max_tokens":1})");
  EXPECT_THAT(client.read_response(), StartsWith("HTTP/1.1 200"));
}

TEST_F(ServerTest, RefusesForeignHostsOnEveryRoute) {
  start();
  for (const char* path : {"/", "/health", "/ready", "/metrics", "/v1/models", "/api/tags",
                           "/v1/models/demo", "/api/version", "/api/ps", "/nothing"}) {
    Client client(port());
    ASSERT_TRUE(client.send(fmt::format("GET {} HTTP/1.1\r\nHost: evil\r\n\r\n", path)));
    EXPECT_THAT(client.read_response(), StartsWith("HTTP/1.1 403")) << path;
  }
  for (const char* path :
       {"/v1/chat/completions", "/v1/completions", "/api/chat", "/api/generate", "/api/show"}) {
    Client client(port());
    ASSERT_TRUE(client.send(
        fmt::format("POST {} HTTP/1.1\r\nHost: evil\r\nContent-Length: 2\r\n\r\n{{}}", path)));
    EXPECT_THAT(client.read_response(), StartsWith("HTTP/1.1 403")) << path;
  }
}

TEST_F(ServerTest, AnswersPagesOfAllowedOriginsOnly) {
  start();
  Client client(port());
  ASSERT_TRUE(
      client.send("OPTIONS /api/chat HTTP/1.1\r\nHost: localhost\r\n"
                  "Origin: http://localhost:3000\r\n\r\n"));
  EXPECT_THAT(client.read_until("\r\n\r\n"),
              HasSubstr("Access-Control-Allow-Origin: http://localhost:3000"));
  ASSERT_TRUE(
      client.send("GET /api/tags HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\n\r\n"));
  EXPECT_THAT(client.read_response(), HasSubstr("Access-Control-Allow-Origin: http://localhost"));
  for (const char* fields :
       {"Host: localhost\r\nOrigin: http://evil.example", "Host: evil\r\nOrigin: http://evil"}) {
    ASSERT_TRUE(client.send(fmt::format("GET /api/tags HTTP/1.1\r\n{}\r\n\r\n", fields)));
    const std::string response = client.read_response();
    EXPECT_THAT(response, StartsWith("HTTP/1.1 403")) << fields;
    EXPECT_THAT(response, Not(HasSubstr("Access-Control"))) << fields;
  }
}

TEST_F(ServerTest, StreamsServerSentEventsToTheEnd) {
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

TEST_F(ServerTest, StreamsNdjsonByDefaultAndAnswersWhole) {
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

TEST_F(ServerTest, AnswersOldClientsUntilTheConnectionCloses) {
  engine_.run(std::chrono::microseconds(500));
  start();
  Client client(port());
  const std::string body = chat(R"(,"stream":true,"max_tokens":3)");
  ASSERT_TRUE(client.send(
      fmt::format("POST {} HTTP/1.0\r\nContent-Length: {}\r\n\r\n{}", kChat, body.size(), body)));
  const std::string response = client.read_all();
  EXPECT_TRUE(client.ended());
  EXPECT_THAT(response, Not(HasSubstr("chunked")));
  EXPECT_TRUE(response.ends_with("data: [DONE]\n\n"));
}

TEST_F(ServerTest, ALargeBodyIsPreparedElsewhere) {
  engine_.run(std::chrono::microseconds(500));
  start();
  Client client(port());
  std::string ids;
  for (int i = 0; i < 4000; ++i) ids += fmt::format("{}{}", i ? "," : "", 1000 + i % 1000);
  client.post("/v1/completions",
              fmt::format(R"({{"model":"demo","prompt":[{}],"max_tokens":2}})", ids));
  EXPECT_THAT(client.read_response(), HasSubstr(R"("prompt_tokens":4000)"));
  client.post("/v1/completions", fmt::format(R"({{"model":"demo","prompt":[{0},{0}]}})", ids));
  const std::string response = client.read_response();
  EXPECT_THAT(response, StartsWith("HTTP/1.1 400"));
  EXPECT_THAT(response, HasSubstr("8000"));
}

TEST_F(ServerTest, ExpectationsAreMet) {
  start();
  Client client(port());
  ASSERT_TRUE(
      client.send("POST /api/show HTTP/1.1\r\nHost: localhost\r\nContent-Length: 16\r\n"
                  "Expect: 100-continue\r\n\r\n"));
  EXPECT_THAT(client.read_until("\r\n\r\n"), StartsWith("HTTP/1.1 100"));
  ASSERT_TRUE(client.send(R"({"model":"demo"})"));
  EXPECT_THAT(client.read_until("\r\n"), StartsWith("HTTP/1.1 200"));
}

TEST_F(ServerTest, SlowRequestsTimeOut) {
  start();
  Client header(port());
  ASSERT_TRUE(header.send("GET / HTTP/1.1\r\n"));
  Client body(port());
  ASSERT_TRUE(
      body.send("POST /api/show HTTP/1.1\r\nHost: a.localhost\r\nContent-Length: 9\r\n\r\n"));
  for (int i = 0; i < 10; ++i) {  // some bytes now and then do not help
    std::this_thread::sleep_for(milliseconds(60));
    header.send("X");
    body.send("X");
  }
  EXPECT_THAT(header.read_all(3000), StartsWith("HTTP/1.1 408"));
  EXPECT_THAT(body.read_all(3000), StartsWith("HTTP/1.1 408"));
}

TEST_F(ServerTest, HostileFramingIsRefusedAndNobodyElseNotices) {
  start();
  const std::string post = "POST /api/show HTTP/1.1\r\nHost: localhost\r\n";
  std::string tiny = post + "Transfer-Encoding: chunked\r\n\r\n";
  for (int i = 0; i < 300'000; ++i) tiny += "1\r\na\r\n";
  const std::pair<std::string, std::string> cases[] = {
      {post + "Content-Length: -1\r\n\r\n", "400"},
      {post + "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400"},
      {"GET / HTTP/1.1\nHost: localhost\n\n", "400"},
      {fmt::format("GET / HTTP/1.1\r\nHost: localhost\r\nX: {:a>3000000}", ""), "431"},
      {post + "Content-Length: 99999999999\r\n\r\n", "413"},
      {tiny, "413"},
  };
  for (const auto& [bytes, status] : cases) {
    Client client(port());
    client.send(bytes);
    EXPECT_THAT(client.read_until("\r\n"), StartsWith(fmt::format("HTTP/1.1 {}", status)))
        << bytes.substr(0, 100);
    Client other(port());
    other.get("/health");
    EXPECT_THAT(other.read_until("\r\n"), StartsWith("HTTP/1.1 200"));
  }
}

TEST_F(ServerTest, BodiesTogetherAreBounded) {
  options_.max_body_bytes = 1000;
  options_.max_body_memory = 1300;
  options_.body_timeout = milliseconds(5000);
  engine_.run(std::chrono::microseconds(500));
  start();
  const std::string body = fmt::format(R"({{"prompt":"{:a>900}","max_tokens":1}})", "");
  const std::string head =
      fmt::format("POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n",
                  body.size());
  for (const bool chunked : {false, true}) {
    Client first(port()), second(port()), third(port());
    ASSERT_TRUE(first.send(head + body.substr(0, 500)));
    first.read_until("never", 50);
    if (chunked) {
      ASSERT_TRUE(
          second.send(fmt::format("POST /api/generate HTTP/1.1\r\nHost: localhost\r\n"
                                  "Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{}\r\n",
                                  body.size(), body)));
    } else {
      ASSERT_TRUE(second.send(head));
    }
    const std::string refusal = second.read_response();
    EXPECT_THAT(refusal, StartsWith("HTTP/1.1 503"));
    EXPECT_THAT(refusal, HasSubstr("Retry-After: "));
    EXPECT_THAT(refusal, HasSubstr(chunked ? R"({"error":"too many)" : R"({"error":{"message":)"));
    third.get("/health");
    EXPECT_THAT(third.read_response(), StartsWith("HTTP/1.1 200"));
    ASSERT_TRUE(first.send(body.substr(500)));
    EXPECT_THAT(first.read_response(), StartsWith("HTTP/1.1 200"));
    ASSERT_TRUE(third.send(head + body));
    EXPECT_THAT(third.read_response(), StartsWith("HTTP/1.1 200")) << "the first gave it back";
  }
}

TEST_F(ServerTest, AClientThatLeavesIsCancelledInEveryPhase) {
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

TEST_F(ServerTest, ASlowReaderHoldsUpNobodyAndIsEnded) {
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
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(2));
  EXPECT_TRUE(within(milliseconds(8000), [&] { return engine_.num_open() == 0; }));
  Client other(port());
  other.get("/health");
  EXPECT_THAT(other.read_until("\r\n"), StartsWith("HTTP/1.1 200"));
}

TEST_F(ServerTest, AFullQueueIsToldInEachDialect) {
  engine_.set_max_sequences(0);
  start();
  Client client(port());
  client.post(kChat, chat(""));
  std::string response = client.read_response();
  EXPECT_THAT(response, StartsWith("HTTP/1.1 429"));
  EXPECT_THAT(response, HasSubstr("Retry-After: "));
  client.post("/api/chat", R"({"model":"demo","messages":[{"role":"user","content":"x"}]})");
  response = client.read_response();
  EXPECT_THAT(response, StartsWith("HTTP/1.1 503"));
  EXPECT_THAT(response, HasSubstr("server busy, please try again."));
}

TEST_F(ServerTest, FailuresBeforeTheFirstTokenHaveAStatusAndLaterOnesEndTheStream) {
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

TEST_F(ServerTest, ReadyMeansLoadedAndGenerating) {
  start(false);
  Client client(port());
  client.get("/health");
  EXPECT_THAT(client.read_response(), StartsWith("HTTP/1.1 200"));
  client.get("/ready");
  std::string response = client.read_response();
  EXPECT_THAT(response, StartsWith("HTTP/1.1 503"));
  EXPECT_THAT(response, HasSubstr("loading"));
  client.post(kChat, chat(""));
  EXPECT_THAT(client.read_response(), StartsWith("HTTP/1.1 503"));
  server_->add_model(test_.model);
  server_->set_loading_done(true);
  engine_.run(std::chrono::microseconds(500));
  client.get("/ready");
  EXPECT_THAT(client.read_response(), StartsWith("HTTP/1.1 200"));
  client.get("/ready");
  EXPECT_THAT(client.read_response(), StartsWith("HTTP/1.1 200"));
  EXPECT_EQ(engine_.submitted().size(), 1u) << "one probe serves for a while";
}

// Work that moves needs no probe, and a probe would only wait behind it.
TEST_F(ServerTest, ReadyMeansThatWorkMoves) {
  engine_.run(milliseconds(100));
  start();
  Client worker(port()), client(port());
  worker.post(kChat, chat(R"(,"stream":true,"max_tokens":4000)"));
  ASSERT_TRUE(submitted(1));
  engine_.set_max_sequences(1);
  for (int i = 0; i < 3; ++i) {
    client.get("/ready");
    EXPECT_THAT(client.read_response(), StartsWith("HTTP/1.1 200"));
    std::this_thread::sleep_for(milliseconds(300));
  }
  EXPECT_EQ(engine_.submitted().size(), 1u);
  engine_.hold(true);
  const auto is_ready = [&] {
    client.get("/ready");
    return client.read_response().starts_with("HTTP/1.1 200");
  };
  EXPECT_TRUE(within(milliseconds(5000), [&] { return !is_ready(); }));
  client.get("/health");
  EXPECT_THAT(client.read_response(), StartsWith("HTTP/1.1 200"));
  engine_.hold(false);
  EXPECT_TRUE(within(milliseconds(1500), is_ready));
}

TEST_F(ServerTest, WhatARequestMayTakeIsBounded) {
  engine_.hold(true);
  engine_.run(milliseconds(1));
  start();
  Client client(port());
  const auto begin = std::chrono::steady_clock::now();
  client.post(kChat, chat(R"(,"timeout":0.2)"));
  std::string response = client.read_response();
  EXPECT_THAT(response, StartsWith("HTTP/1.1 504"));
  EXPECT_THAT(response, HasSubstr("the request's time of 0.2 seconds is over"));
  client.post("/api/generate", R"({"prompt":"Once"})", "X-Request-Timeout: 0.2\r\n");
  EXPECT_THAT(client.read_response(), StartsWith("HTTP/1.1 504"));
  EXPECT_EQ(engine_.num_open(), 0u);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(2));
  EXPECT_TRUE(engine_.submitted()[0].deadline.has_value());
  engine_.hold(false);
  client.post(kChat, chat(R"(,"timeout":60,"stream":true,"max_tokens":4000)"),
              "X-Request-Timeout: 0.3\r\n");
  response = client.read_until("0\r\n\r\n");
  EXPECT_THAT(response, StartsWith("HTTP/1.1 200"));
  EXPECT_THAT(response, HasSubstr(R"("code":"deadline_exceeded")"));
  EXPECT_THAT(response, HasSubstr("0.3 seconds"));
  EXPECT_EQ(engine_.num_open(), 0u);
  for (const char* bad : {"0", "-1", "5s", "1e9", "nan"}) {
    client.post(kChat, chat(""), fmt::format("X-Request-Timeout: {}\r\n", bad));
    response = client.read_response();
    EXPECT_THAT(response, StartsWith("HTTP/1.1 400")) << bad;
    EXPECT_THAT(response, HasSubstr("x-request-timeout")) << bad;
  }
}

TEST_F(ServerTest, SilentStreamsShowThatTheyLive) {
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

TEST_F(ServerTest, TheEngineIsToldWhoAsksAndHowUrgently) {
  options_.tenants = {{"lab", {"sk-1"}, {}, 2.5}};
  start();
  Client client(port());
  client.post(kChat, chat(R"(,"priority":-3,"cache_salt":"pepper","stream":true)"),
              "Authorization: Bearer sk-1\r\n");
  ASSERT_TRUE(submitted(1));
  Client other(port());
  other.post("/api/generate", R"({"prompt":"Once"})", "X-Tenant-Id: web\r\n");
  ASSERT_TRUE(submitted(2));
  Client third(port());
  third.post("/api/generate", R"({"prompt":"Once"})");
  ASSERT_TRUE(submitted(3));
  const auto sequences = engine_.submitted();
  EXPECT_EQ(sequences[0].tenant_weight, 2.5);
  EXPECT_EQ(sequences[0].priority, -3);
  EXPECT_EQ(sequences[0].cache_salt, "pepper");
  EXPECT_EQ(sequences[1].tenant_weight, 1);
  EXPECT_NE(sequences[1].tenant, sequences[0].tenant);
  EXPECT_FALSE(sequences[1].tenant.empty());
  EXPECT_EQ(sequences[2].tenant, "");
}

TEST_F(ServerTest, EveryAnswerHasItsRequestsId) {
  engine_.run(std::chrono::microseconds(500));
  start();
  Client client(port());
  const std::string fields =
      "X-Request-Id: abc-1.2\r\n"
      "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n";
  const auto expect_own = [](const std::string& head) {
    EXPECT_THAT(head, HasSubstr("X-Request-Id: abc-1.2\r\n"));
    EXPECT_THAT(head, HasSubstr("traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-"));
    EXPECT_THAT(head, Not(HasSubstr("00f067aa0ba902b7")));
  };
  client.post(kChat, chat(R"(,"max_tokens":2)"), fields);
  const std::string answer = client.read_response();
  expect_own(answer);
  EXPECT_THAT(answer, HasSubstr(R"("id":"chatcmpl-abc-1.2")"));
  client.post(kChat, chat(R"(,"max_tokens":2,"stream":true)"), fields);
  expect_own(client.read_until("0\r\n\r\n"));
  client.post(kChat, "[", fields);
  expect_own(client.read_response());
  client.post("/nothing", "", fields);
  expect_own(client.read_response());
  for (const char* bad : {"a b", "<x>", "\x7f"}) {
    client.post("/nothing", "", fmt::format("X-Request-Id: {}\r\ntraceparent: 00-1-2-3\r\n", bad));
    const std::string head = client.read_response();
    EXPECT_THAT(head, Not(HasSubstr(bad)));
    EXPECT_THAT(head, HasSubstr("X-Request-Id: "));
    EXPECT_THAT(head, Not(HasSubstr("traceparent")));
  }
  client.post("/nothing", "", fmt::format("X-Request-Id: {:a>129}\r\n", ""));
  EXPECT_THAT(client.read_response(), Not(HasSubstr("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")));
  Client broken(port());
  ASSERT_TRUE(broken.send("GET / HTTP/1.1\nHost: localhost\n\n"));
  EXPECT_THAT(broken.read_response(), HasSubstr("X-Request-Id: "));
}

TEST_F(ServerTest, WhileDrainingNewRequestsAreRefused) {
  options_.drain_timeout = milliseconds(20'000);
  engine_.run(milliseconds(1));
  start();
  Client running(port());
  running.post(kChat, chat(R"(,"stream":true,"max_tokens":4000)"));
  running.read_until("content");
  engine_.hold(true);
  server_->stop();
  ASSERT_TRUE(within(milliseconds(1000), [&] { return server_->is_stopping(); }));
  const auto answer_to = [&](const std::string& request) {
    Client client(port());
    EXPECT_TRUE(client.send(request));
    return client.read_response();
  };
  const std::string body = chat("");
  const std::string refusal =
      answer_to(fmt::format("POST {} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{}",
                            kChat, body.size(), body));
  EXPECT_THAT(refusal, StartsWith("HTTP/1.1 503"));
  EXPECT_THAT(refusal, HasSubstr("Retry-After: "));
  EXPECT_THAT(refusal, HasSubstr("Connection: close"));
  EXPECT_THAT(answer_to("GET /ready HTTP/1.1\r\nHost: localhost\r\n\r\n"),
              StartsWith("HTTP/1.1 503"));
  EXPECT_THAT(answer_to("GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"),
              StartsWith("HTTP/1.1 200"));
  engine_.finish(0, FinishReason::kStop, 2);
  EXPECT_THAT(running.read_until("0\r\n\r\n"), HasSubstr("[DONE]"));
  const auto begin = std::chrono::steady_clock::now();
  thread_.join();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(3));
}

TEST_F(ServerTest, ReloadedSettingsAreInForce) {
  start();
  const auto status_of_host = [&](const char* host) {
    Client other(port());
    EXPECT_TRUE(other.send(fmt::format("GET /health HTTP/1.1\r\nHost: {}\r\n\r\n", host)));
    return other.read_response().substr(9, 3);
  };
  EXPECT_EQ(status_of_host("chat.example"), "403");
  options_.allowed_hosts = {"chat.example"};
  options_.max_body_bytes = 100;
  options_.port = 1;
  server_->reload(options_);
  EXPECT_TRUE(within(milliseconds(1000), [&] { return status_of_host("chat.example") == "200"; }));
  EXPECT_NE(port(), 1);
  Client fresh(port());
  ASSERT_TRUE(
      fresh.send("POST /api/show HTTP/1.1\r\nHost: localhost\r\nContent-Length: 200\r\n\r\n"));
  EXPECT_THAT(fresh.read_response(), StartsWith("HTTP/1.1 413"));
}

TEST_F(ServerTest, ListsAndMetrics) {
  engine_.run(std::chrono::microseconds(500));
  start();
  Client client(port());
  client.post(kChat, chat(R"(,"max_tokens":4)"));
  client.read_response();
  client.get("/v1/models");
  EXPECT_THAT(client.read_response(), HasSubstr(R"("id":"demo")"));
  client.get("/v1/models/demo");
  EXPECT_THAT(client.read_response(), HasSubstr(R"("max_model_len":4096)"));
  client.get("/api/tags");
  EXPECT_THAT(client.read_response(), HasSubstr(R"("name":"demo:latest")"));
  client.get("/metrics");
  const std::string metrics = client.read_response();
  EXPECT_THAT(metrics, HasSubstr("tutti_requests_total{model_name=\"demo:latest\",outcome="
                                 "\"success\"} 1"));
  EXPECT_THAT(metrics,
              HasSubstr("tutti_inter_token_latency_seconds_count{model_name=\"demo:latest\"} 3"));
}

TEST_F(ServerTest, StopLetsStreamsEndAndThenEndsThem) {
  engine_.run(std::chrono::microseconds(1000));
  start();
  Client idle(port());
  idle.get("/health");
  idle.read_response();
  Client brief(port());
  brief.post(kChat, chat(R"(,"stream":true,"max_tokens":50)"));
  Client endless(port());
  endless.post(kChat, chat(R"(,"stream":true,"max_tokens":4000)"));
  ASSERT_TRUE(submitted(2));
  const auto begin = std::chrono::steady_clock::now();
  stop();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(4));
  EXPECT_THAT(brief.read_all(), HasSubstr("[DONE]"));
  EXPECT_THAT(endless.read_all(), HasSubstr("the server is shutting down"));
  idle.read_all();
  EXPECT_TRUE(idle.ended());
  EXPECT_EQ(engine_.num_open(), 0u);
}

// Whether by the end of the time to drain or by a second stop().
TEST_F(ServerTest, WhatIsOpenWhenDrainingEndsIsToldSo) {
  for (const bool stopped_twice : {false, true}) {
    options_.drain_timeout = milliseconds(stopped_twice ? 60'000 : 300);
    testing::TestModel fresh = testing::make_test_model(4096);
    test_.model = fresh.model;
    fresh.engine->run(std::chrono::microseconds(1000));
    start();
    Client sse(port()), ndjson(port());
    sse.post(kChat, chat(R"(,"stream":true,"max_tokens":4000)"));
    ndjson.post("/api/generate", R"({"prompt":"Once","options":{"num_predict":4000}})");
    sse.read_until("content");
    ndjson.read_until("response");
    fresh.engine->hold(true);
    Client whole(port()), silent(port());
    whole.post(kChat, chat(R"(,"max_tokens":4000)"));
    silent.post("/api/generate", R"({"prompt":"Once"})");
    ASSERT_TRUE(within(milliseconds(3000), [&] { return fresh.engine->num_open() == 4; }));
    if (stopped_twice) server_->stop();
    const auto begin = std::chrono::steady_clock::now();
    stop();
    EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(2));
    EXPECT_EQ(fresh.engine->num_open(), 0u);
    std::string rest = sse.read_all();
    EXPECT_THAT(rest, HasSubstr("data: {\"error\":{\"message\":\"the server is shutting down\""));
    EXPECT_TRUE(rest.ends_with("data: [DONE]\n\n\r\n0\r\n\r\n")) << rest;
    rest = ndjson.read_all();
    EXPECT_THAT(rest, HasSubstr(R"({"error":"the server is shutting down"})"));
    EXPECT_TRUE(rest.ends_with("\r\n0\r\n\r\n")) << rest;
    EXPECT_THAT(rest, Not(HasSubstr(R"("done":true)")));
    for (Client* client : {&whole, &silent}) {
      rest = client->read_all();
      EXPECT_THAT(rest, StartsWith("HTTP/1.1 503"));
      EXPECT_THAT(rest, HasSubstr("the server is shutting down"));
    }
  }
}

TEST_F(ServerTest, ManyStreamsAtOnceEachEndOnce) {
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

TEST(ServerStart, RaisesTheLimitOfOpenFiles) {
  rlimit limit{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
  const rlimit low{std::min<rlim_t>(limit.rlim_max, 256), limit.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &low), 0);
  ServerOptions options;
  options.port = 0;
  ASSERT_TRUE(Server::start(options).ok());
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
  EXPECT_EQ(limit.rlim_cur, limit.rlim_max);
}

TEST(ServerStart, RefusesATakenPortByName) {
  ServerOptions options;
  options.port = 0;
  auto first = Server::start(options);
  ASSERT_TRUE(first.ok());
  options.port = (*first)->port();
  const auto second = Server::start(options);
  ASSERT_FALSE(second.ok());
  EXPECT_THAT(second.status().message(), HasSubstr(std::to_string(options.port)));
}

}  // namespace
}  // namespace tutti::server
