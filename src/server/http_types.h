// An HTTP request and response as the rest of the server sees them.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace tutti::server {

struct HttpRequest {
  std::string method;             // "GET", as it was sent
  std::string path;               // of the target, percent-decoded, without query
  std::string host;               // the Host field; empty for HTTP/1.0 without one
  std::string origin;             // the Origin field, or empty
  std::string requested_headers;  // of a preflight: Access-Control-Request-Headers
  std::string authorization;      // these as they were sent, or empty
  std::string tenant_id;          // x-tenant-id
  std::string request_id;         // x-request-id
  std::string timeout;            // x-request-timeout
  std::string traceparent;        // empty too when there are several
  std::string body;
  bool is_http_1_0 = false;
  bool keep_alive = true;

  bool is_head() const { return method == "HEAD"; }
};

struct HttpResponse {
  int status = 200;
  std::string content_type = "application/json";
  std::string body;
  std::vector<std::pair<std::string, std::string>> headers;  // further ones
};

// How the body of a response goes over the wire.
enum class BodyFraming {
  kContentLength,
  kChunked,
  kUntilClose,  // a stream to an HTTP/1.0 client
};

// Status line and fields up to and including the empty line.
std::string format_response_head(const HttpResponse& response, const HttpRequest& request,
                                 BodyFraming framing, bool keep_alive);

// One chunk of a chunked body; empty for empty data.
std::string format_chunk(const std::string& data);
inline constexpr const char* kLastChunk = "0\r\n\r\n";

// "Tue, 24 Nov 2026 08:12:31 GMT"
std::string format_http_date(std::int64_t unix_seconds);

}  // namespace tutti::server
