#include "app/serve_settings.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <set>
#include <string_view>

#include "app/settings.h"
#include "base/log.h"

namespace tutti::app {
namespace {

constexpr std::string_view kLiveFlags[] = {
    "allowed-hosts", "allowed-origins", "max-body-size",    "max-body-memory", "header-timeout",
    "body-timeout",  "write-timeout",   "drain-timeout",    "sse-keep-alive",  "log-level",
    "log-format",    "log-content",     "vllm-metric-names"};

bool is_live(std::string_view flag) {
  return std::find(std::begin(kLiveFlags), std::end(kLiveFlags), flag) != std::end(kLiveFlags);
}

// Names of the flags that were given otherwise than before.
std::vector<std::string> changed_flags(const ServeOptions& before, const ServeOptions& after) {
  std::set<std::string> changed;
  for (const auto& [one, other] : {std::pair(&before, &after), std::pair(&after, &before)}) {
    for (const auto& [flag, value] : one->given) {
      const auto found = other->given.find(flag);
      if (found == other->given.end() || found->second != value) changed.insert(flag);
    }
  }
  return {changed.begin(), changed.end()};
}

// The new options, with the old values of what cannot change.
void keep_fixed(const ServeOptions& before, ServeOptions& after) {
  for (const std::string& flag : changed_flags(before, after)) {
    if (is_live(flag)) {
      log::info("settings: {} is in force", flag);
      continue;
    }
    log::warn("settings: {} has changed, which takes effect after a restart", flag);
    const auto old = before.given.find(flag);
    if (old == before.given.end()) {
      after.given.erase(flag);
    } else {
      after.given[flag] = old->second;
    }
  }
}

}  // namespace

Result<server::ServerOptions> server_options(const ServeOptions& options) {
  using std::chrono::seconds;
  server::ServerOptions server;
  server.host = options.host;
  server.port = options.port;
  auto body = parse_byte_size(options.max_body_size);
  if (!body.ok()) return body.status().with_context("--max-body-size");
  server.max_body_bytes = *body;
  auto body_memory = parse_byte_size(options.max_body_memory);
  if (!body_memory.ok()) return body_memory.status().with_context("--max-body-memory");
  server.max_body_memory = *body_memory;
  if (server.max_body_memory < server.max_body_bytes) {
    return invalid_argument("max-body-memory",
                            fmt::format("--max-body-memory is {}, less than --max-body-size, {}",
                                        options.max_body_memory, options.max_body_size));
  }
  server.header_timeout = seconds(options.header_timeout_seconds);
  server.body_timeout = seconds(options.body_timeout_seconds);
  server.write_timeout = seconds(options.write_timeout_seconds);
  server.drain_timeout = seconds(options.drain_timeout_seconds);
  server.sse_keep_alive = seconds(options.sse_keep_alive_seconds);
  server.allowed_hosts = options.allowed_hosts;
  server.allowed_origins = options.allowed_origins;
  server.vllm_metric_names = options.vllm_metric_names;
  server.log_content = options.log_content;
  server.tenants = options.tenants;
  server.reuse_port = options.reuse_port;
  return server;
}

void apply_log_settings(const ServeOptions& options) {
  log::set_level(options.log_level);
  log::set_format(options.log_format);
}

void reload_settings(server::Server& server, ServeOptions& current) {
  auto read = current.reread();
  if (!read.ok()) {
    log::error("the settings stay as they are: {}", read.status().message());
    return;
  }
  auto options = server_options(*read);
  if (!options.ok()) {
    log::error("the settings stay as they are: {}", options.status().message());
    return;
  }
  apply_log_settings(*read);
  if (read->tenants != current.tenants) log::info("settings: tenants are in force");
  keep_fixed(current, *read);
  server.reload(*options);
  current = *std::move(read);
  log::info("the settings were read again");
}

}  // namespace tutti::app
