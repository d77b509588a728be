// A server on a port of its own with a scripted engine behind it.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>
#include <thread>

#include "server/server.h"
#include "tests/support/fake_engine.h"
#include "tests/support/test_client.h"

namespace tutti::server::testing {

using std::chrono::milliseconds;

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
      server_->set_loaded();
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

}  // namespace tutti::server::testing
