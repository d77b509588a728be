#include "server/host_guard.h"

#include <arpa/inet.h>
#include <unistd.h>

#include <algorithm>

namespace tutti::server {
namespace {

std::string lower(std::string text) {
  for (char& c : text) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return text;
}

bool is_ip_address(const std::string& host) {
  unsigned char address[16];
  return inet_pton(AF_INET, host.c_str(), address) == 1 ||
         inet_pton(AF_INET6, host.c_str(), address) == 1;
}

bool is_loopback_name(const std::string& host) {
  return host == "localhost" || host.ends_with(".localhost");
}

bool is_loopback(const std::string& host) {
  return is_loopback_name(host) || host == "::1" || host == "0.0.0.0" ||
         (host.starts_with("127.") && is_ip_address(host));
}

// Whether `text` equals `pattern`, in which '*' stands for any run of characters.
bool matches(std::string_view pattern, std::string_view text) {
  std::size_t p = 0, t = 0, star = std::string_view::npos, resume = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      resume = t;
    } else if (p < pattern.size() && pattern[p] == text[t]) {
      ++p;
      ++t;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      t = ++resume;
    } else {
      return false;
    }
  }
  return pattern.substr(p).find_first_not_of('*') == std::string_view::npos;
}

std::string host_of_origin(const std::string& origin) {
  const std::size_t scheme = origin.find("://");
  return scheme == std::string::npos ? std::string() : origin.substr(scheme + 3);
}

}  // namespace

std::string host_without_port(const std::string& host) {
  std::string name = lower(host);
  if (name.starts_with('[')) {
    const std::size_t end = name.find(']');
    return end == std::string::npos ? name : name.substr(1, end - 1);
  }
  const std::size_t colon = name.find(':');
  if (colon != std::string::npos && name.find(':', colon + 1) == std::string::npos) {
    name.resize(colon);
  }
  if (name.ends_with('.')) name.pop_back();
  return name;
}

HostGuard::HostGuard(std::string bound_host, std::vector<std::string> allowed_hosts,
                     const std::vector<std::string>& allowed_origins) {
  allowed_hosts.push_back(std::move(bound_host));
  char own_name[256] = {};
  if (gethostname(own_name, sizeof(own_name) - 1) == 0) allowed_hosts.emplace_back(own_name);
  for (const std::string& origin : allowed_origins) {
    origins_.push_back(lower(origin));
    // "*" and "app://*" allow pages of any origin; the Host that they use stays checked.
    const std::string host = host_of_origin(origin);
    if (host_without_port(host).find_first_not_of("*.") == std::string::npos) continue;
    allowed_hosts.push_back(host);
  }
  for (const std::string& host : allowed_hosts) {
    if (!host.empty()) hosts_.push_back(host_without_port(host));
  }
}

bool HostGuard::allows_host(const std::string& host) const {
  if (host.empty()) return true;
  const std::string name = host_without_port(host);
  if (is_loopback_name(name) || is_ip_address(name)) return true;
  return std::any_of(hosts_.begin(), hosts_.end(),
                     [&](const std::string& pattern) { return matches(pattern, name); });
}

bool HostGuard::allows_origin(const std::string& origin, const std::string& host) const {
  if (origin.empty()) return true;
  const std::string text = lower(origin);
  for (const char* scheme :
       {"app://", "file://", "tauri://", "vscode-webview://", "vscode-file://"}) {
    if (text.starts_with(scheme)) return true;
  }
  const std::string origin_host = host_of_origin(text);
  if (!origin_host.empty() && is_loopback(host_without_port(origin_host))) return true;
  if (!origin_host.empty() && origin_host == lower(host)) return true;
  return std::any_of(origins_.begin(), origins_.end(),
                     [&](const std::string& pattern) { return matches(pattern, text); });
}

std::vector<std::pair<std::string, std::string>> HostGuard::cors_headers(
    const HttpRequest& request) const {
  if (request.origin.empty() || !allows_host(request.host) ||
      !allows_origin(request.origin, request.host)) {
    return {};
  }
  return {{"Access-Control-Allow-Origin", request.origin}, {"Vary", "Origin"}};
}

HttpResponse HostGuard::preflight_response(const HttpRequest& request) const {
  HttpResponse response;
  response.status = 204;
  response.headers = cors_headers(request);
  response.headers.emplace_back("Access-Control-Allow-Methods",
                                "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
  response.headers.emplace_back("Access-Control-Allow-Headers",
                                request.requested_headers.empty()
                                    ? "Authorization, Content-Type, Accept, X-Requested-With"
                                    : request.requested_headers);
  response.headers.emplace_back("Access-Control-Max-Age", "43200");
  return response;
}

}  // namespace tutti::server
