#include "server/host_guard.h"

#include <gtest/gtest.h>

namespace tutti::server {
namespace {

TEST(HostGuard, KnowsTheNamesThatNoRebindingCanUse) {
  const HostGuard guard("127.0.0.1", {"llm.example", "*.corp.example"}, {"https://chat.example"});
  for (const char* host :
       {"", "localhost", "LOCALHOST:11434", "127.0.0.1:80", "[::1]:11434", "::1", "10.1.2.3:8080",
        "x.localhost", "llm.example:1", "llm.example.", "a.corp.example", "chat.example"}) {
    EXPECT_TRUE(guard.allows_host(host)) << host;
  }
  for (const char* host : {"evil", "evil.example", "localhost.evil.example", "127.0.0.1.evil",
                           "evil.example:11434", "corp.example", "llm.example.evil", "[evil]"}) {
    EXPECT_FALSE(guard.allows_host(host)) << host;
  }
}

TEST(HostGuard, AllowsPagesOfOurOwnAndListedOrigins) {
  const HostGuard guard("127.0.0.1", {}, {"https://chat.example", "http://10.0.0.*"});
  const std::string host = "llm.lan:11434";
  for (const char* origin :
       {"", "http://localhost:3000", "https://127.0.0.1", "http://[::1]:1", "http://llm.lan:11434",
        "https://chat.example", "http://10.0.0.7:80", "app://obsidian.md", "vscode-webview://x"}) {
    EXPECT_TRUE(guard.allows_origin(origin, host)) << origin;
  }
  for (const char* origin : {"http://evil.example", "null", "https://chat.example.evil",
                             "http://localhost.evil", "https://xchat.example"}) {
    EXPECT_FALSE(guard.allows_origin(origin, host)) << origin;
  }
  EXPECT_TRUE(HostGuard("", {}, {"*"}).allows_origin("http://evil.example", host));
  for (const char* pattern : {"*", "app://*", "chrome-extension://*", "http://*:*"}) {
    EXPECT_FALSE(HostGuard("", {}, {pattern}).allows_host("evil.example")) << pattern;
  }
}

}  // namespace
}  // namespace tutti::server
