#include "server/http_types.h"

#include <fmt/format.h>

#include <ctime>

namespace tutti::server {
namespace {

struct StatusText {
  int status;
  const char* text;
};

constexpr StatusText kStatusTexts[] = {
    {200, "OK"},
    {204, "No Content"},
    {400, "Bad Request"},
    {403, "Forbidden"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {408, "Request Timeout"},
    {413, "Content Too Large"},
    {417, "Expectation Failed"},
    {429, "Too Many Requests"},
    {431, "Request Header Fields Too Large"},
    {499, "Client Closed Request"},
    {500, "Internal Server Error"},
    {501, "Not Implemented"},
    {503, "Service Unavailable"},
    {504, "Gateway Timeout"},
};

const char* status_text(int status) {
  for (const StatusText& row : kStatusTexts) {
    if (row.status == status) return row.text;
  }
  return "Unknown";
}

}  // namespace

std::string format_http_date(std::int64_t unix_seconds) {
  static constexpr const char* kDays[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
  static constexpr const char* kMonths[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                            "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  const auto time = static_cast<std::time_t>(unix_seconds);
  std::tm utc{};
  gmtime_r(&time, &utc);
  return fmt::format("{}, {:02} {} {} {:02}:{:02}:{:02} GMT", kDays[utc.tm_wday], utc.tm_mday,
                     kMonths[utc.tm_mon], utc.tm_year + 1900, utc.tm_hour, utc.tm_min, utc.tm_sec);
}

std::string format_response_head(const HttpResponse& response, const HttpRequest& request,
                                 BodyFraming framing, bool keep_alive) {
  std::string head =
      fmt::format("HTTP/1.{} {} {}\r\nDate: {}\r\n", request.is_http_1_0 ? 0 : 1, response.status,
                  status_text(response.status), format_http_date(std::time(nullptr)));
  const bool has_body = response.status != 204;
  if (has_body) head += fmt::format("Content-Type: {}\r\n", response.content_type);
  for (const auto& [name, value] : response.headers) head += fmt::format("{}: {}\r\n", name, value);
  if (framing == BodyFraming::kChunked) head += "Transfer-Encoding: chunked\r\n";
  if (framing == BodyFraming::kContentLength && has_body) {
    head += fmt::format("Content-Length: {}\r\n", response.body.size());
  }
  if (!keep_alive) {
    head += "Connection: close\r\n";
  } else if (request.is_http_1_0) {
    head += "Connection: keep-alive\r\n";
  }
  return head + "\r\n";
}

std::string format_chunk(const std::string& data) {
  return data.empty() ? std::string() : fmt::format("{:x}\r\n{}\r\n", data.size(), data);
}

}  // namespace tutti::server
