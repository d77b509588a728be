// Requests as routes and dialects see them.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/server_fixture.h"

namespace tutti::server {
namespace {

using std::chrono::milliseconds;
using testing::Client;
using ::testing::HasSubstr;
using ::testing::StartsWith;

using testing::ServerTest;

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

TEST_F(ServerTest, AFullQueueIsToldInEachDialect) {
  engine_.set_max_sequences(0);
  start();
  Client client(port());
  client.post(kChat, chat(""));
  std::string response = client.read_response();
  EXPECT_THAT(response, StartsWith("HTTP/1.1 429"));
  EXPECT_THAT(response, HasSubstr("Retry-After: 1\r\n"));
  client.post("/api/chat", R"({"model":"demo","messages":[{"role":"user","content":"x"}]})");
  response = client.read_response();
  EXPECT_THAT(response, StartsWith("HTTP/1.1 503"));
  EXPECT_THAT(response, HasSubstr("server busy, please try again."));
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

// The engine's own figures: when a place is free, and until then when there is an engine.
TEST_F(ServerTest, RetryAfterIsTheEngines) {
  engine_.set_max_sequences(0);
  engine_.set_drain(0.1, std::chrono::seconds(7));
  start();
  Client client(port());
  client.post(kChat, chat(""));
  EXPECT_THAT(client.read_response(), HasSubstr("Retry-After: 17\r\n"));
}

TEST_F(ServerTest, TheEngineIsToldWhoAsksAndHowUrgently) {
  options_.tenants = {{"lab", {"sk-1"}, {"lab"}, 2.5}};
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
  Client impostor(port());
  impostor.post("/api/generate", R"({"prompt":"Once"})", "X-Tenant-Id: lab\r\n");
  const std::string refusal = impostor.read_response();
  EXPECT_THAT(refusal, StartsWith("HTTP/1.1 400"));
  EXPECT_THAT(refusal, HasSubstr("Authorization: Bearer"));
  const auto sequences = engine_.submitted();
  ASSERT_EQ(sequences.size(), 3u);
  EXPECT_EQ(sequences[0].tenant_weight, 2.5);
  EXPECT_EQ(sequences[0].priority, -3);
  EXPECT_EQ(sequences[0].cache_salt, "pepper");
  EXPECT_EQ(sequences[1].tenant_weight, 1);
  EXPECT_NE(sequences[1].tenant, sequences[0].tenant);
  EXPECT_FALSE(sequences[1].tenant.empty());
  EXPECT_EQ(sequences[2].tenant, "");
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

}  // namespace
}  // namespace tutti::server
