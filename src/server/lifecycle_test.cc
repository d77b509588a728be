// Start, readiness, reloading and draining.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <future>
#include <thread>

#include "tests/support/server_fixture.h"

namespace tutti::server {
namespace {

using std::chrono::milliseconds;
using testing::Client;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

using LifecycleTest = testing::ServerTest;

TEST_F(LifecycleTest, ReadyMeansLoadedAndGenerating) {
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
  server_->set_loaded();
  engine_.run(std::chrono::microseconds(500));
  client.get("/ready");
  EXPECT_THAT(client.read_response(), StartsWith("HTTP/1.1 200"));
  client.get("/ready");
  EXPECT_THAT(client.read_response(), StartsWith("HTTP/1.1 200"));
  EXPECT_EQ(engine_.submitted().size(), 1u) << "one probe serves for a while";
}

class SharedPortTest : public testing::ServerTest {
 protected:
  void start_listening() {
    options_.reuse_port = true;
    start(false);
    server_->add_model(test_.model);
    std::promise<void> listens;
    server_->set_loaded([&] {
      const Client client(port());  // which fails the test unless it is connected
      listens.set_value();
    });
    listens.get_future().wait();
  }
};

TEST_F(SharedPortTest, SaysThatItListensWhenItDoes) { start_listening(); }

// A handshake may be under way when its listener learns that another one takes its place. Here
// there is none, so it gets the connection itself.
TEST_F(SharedPortTest, WhatIsOnItsWayIsServed) {
  engine_.run(milliseconds(1));
  start_listening();
  const auto begin = std::chrono::steady_clock::now();
  server_->stop();
  ASSERT_TRUE(within(milliseconds(1000), [&] { return server_->is_stopping(); }));
  std::this_thread::sleep_for(milliseconds(300));
  Client late(port());
  late.post(kChat, chat(R"(,"max_tokens":5)"));
  EXPECT_THAT(late.read_response(), StartsWith("HTTP/1.1 200"));
  thread_.join();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(3));
}

// Work that moves needs no probe, and a probe would only wait behind it.
TEST_F(LifecycleTest, ReadyMeansThatWorkMoves) {
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

TEST_F(LifecycleTest, ReloadedSettingsAreInForce) {
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

TEST_F(LifecycleTest, WhileDrainingNewRequestsAreRefused) {
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

TEST_F(LifecycleTest, StopLetsStreamsEndAndThenEndsThem) {
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
TEST_F(LifecycleTest, WhatIsOpenWhenDrainingEndsIsToldSo) {
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
