// One connection: HTTP framing, times, sizes, and who may call.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>
#include <utility>

#include "tests/support/server_fixture.h"

namespace tutti::server {
namespace {

using std::chrono::milliseconds;
using testing::Client;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

using ConnectionTest = testing::ServerTest;

TEST_F(ConnectionTest, KeepsAConnectionForManyRequests) {
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

TEST_F(ConnectionTest, HeadHasTheHeaderAlone) {
  start();
  Client client(port());
  client.get("/", "HEAD");
  const std::string head = client.read_until("\r\n\r\n");
  EXPECT_THAT(head, HasSubstr("200 OK"));
  EXPECT_THAT(head, HasSubstr("Content-Length: 17"));
  client.get("/health");
  EXPECT_THAT(client.read_until("\r\n"), StartsWith("HTTP/1.1 200"));
}

TEST_F(ConnectionTest, AnswersOldClientsUntilTheConnectionCloses) {
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

TEST_F(ConnectionTest, ExpectationsAreMet) {
  start();
  Client client(port());
  ASSERT_TRUE(
      client.send("POST /api/show HTTP/1.1\r\nHost: localhost\r\nContent-Length: 16\r\n"
                  "Expect: 100-continue\r\n\r\n"));
  EXPECT_THAT(client.read_until("\r\n\r\n"), StartsWith("HTTP/1.1 100"));
  ASSERT_TRUE(client.send(R"({"model":"demo"})"));
  EXPECT_THAT(client.read_until("\r\n"), StartsWith("HTTP/1.1 200"));
}

TEST_F(ConnectionTest, SlowRequestsTimeOut) {
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

TEST_F(ConnectionTest, HostileFramingIsRefusedAndNobodyElseNotices) {
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

TEST_F(ConnectionTest, WhatIsRefusedUnreadIsToldInTheDialectOfItsPath) {
  options_.max_body_bytes = 1000;
  start();
  const std::string too_long = "Host: localhost\r\nContent-Length: 1001\r\n\r\n";
  const std::string silent = "Host: localhost\r\nContent-Length: 9\r\n\r\n";
  const std::string too_many = fmt::format("Host: localhost\r\nX: {:a>40000}\r\n\r\n", "");
  const std::pair<std::string, std::string> cases[] = {
      {too_long, "413"}, {silent, "408"}, {too_many, "431"}};
  for (const auto& [fields, status] : cases) {
    for (const bool is_openai : {false, true}) {
      Client client(port());
      client.send(fmt::format("POST {} HTTP/1.1\r\n{}", is_openai ? kChat : "/api/chat", fields));
      const std::string response = client.read_response();
      EXPECT_THAT(response, StartsWith("HTTP/1.1 " + status));
      EXPECT_THAT(response, HasSubstr("Content-Type: application/json"));
      EXPECT_THAT(response,
                  HasSubstr(is_openai ? R"({"error":{"message":"the)" : R"({"error":"the)"));
    }
  }
}

TEST_F(ConnectionTest, BodiesTogetherAreBounded) {
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

TEST_F(ConnectionTest, RefusesForeignHostsOnEveryRoute) {
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

TEST_F(ConnectionTest, AnswersPagesOfAllowedOriginsOnly) {
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

TEST_F(ConnectionTest, EveryAnswerHasItsRequestsId) {
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

}  // namespace
}  // namespace tutti::server
