// Who may talk to us through a browser: the Host field against DNS rebinding, the Origin field
// against pages of other sites.
//
// A page of evil.example can make its name point to 127.0.0.1 and then talk to us as its own
// origin; only the Host field shows it. So a Host must be a loopback name, an IP address (which no
// DNS answer can change), the name we were told to bind to, this machine's own name, or on the
// list.
#pragma once

#include <string>
#include <vector>

#include "server/http_types.h"

namespace tutti::server {

// Thread safety: constant after construction.
class HostGuard {
 public:
  // `origins` as in OLLAMA_ORIGINS: "*", "https://chat.example", with '*' for any run of
  // characters. Their hosts are allowed as Host too.
  HostGuard(std::string bound_host, std::vector<std::string> allowed_hosts,
            const std::vector<std::string>& allowed_origins);

  // `host` with or without a port; empty is allowed (HTTP/1.0 clients are no browsers).
  bool allows_host(const std::string& host) const;
  // An empty origin is allowed; so are loopback origins, the origin that equals `host`, and the
  // schemes of desktop programs (app, file, tauri, vscode-webview, vscode-file).
  bool allows_origin(const std::string& origin, const std::string& host) const;

  // The fields that let a browser read the answer; empty without an Origin, or when the request's
  // Host or Origin is not allowed.
  std::vector<std::pair<std::string, std::string>> cors_headers(const HttpRequest& request) const;
  // The answer to a preflight.
  HttpResponse preflight_response(const HttpRequest& request) const;

 private:
  std::vector<std::string> hosts_;    // lower case, without port
  std::vector<std::string> origins_;  // patterns, lower case
};

// The host of "host:port", "[::1]:80", "host", in lower case and without a final dot.
std::string host_without_port(const std::string& host);

}  // namespace tutti::server
