#include "server/request_reader.h"

#include <fmt/format.h>

#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <cstring>
#include <optional>

namespace tutti::server {
namespace {

namespace beast = boost::beast;
namespace http = boost::beast::http;

using Parser = http::request_parser<http::string_body>;

// Bytes that may wait for the rest of a line of a chunk's header or of a trailer.
constexpr std::size_t kMaxUnparsedBytes = 16 << 10;
constexpr int kMaxEmptyLinesBefore = 4;

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

bool decode_target(const std::string& target, std::string& path) {
  std::string_view rest = target;
  for (const std::string_view scheme : {"http://", "https://"}) {
    if (!rest.starts_with(scheme)) continue;
    const std::size_t slash = rest.find('/', scheme.size());
    rest = slash == std::string_view::npos ? std::string_view("/") : rest.substr(slash);
  }
  rest = rest.substr(0, rest.find_first_of("?#"));
  if (rest == "*") rest = "/";
  if (!rest.starts_with('/')) return false;
  path.clear();
  for (std::size_t i = 0; i < rest.size(); ++i) {
    char c = rest[i];
    if (c == '%') {
      const int high = i + 1 < rest.size() ? hex_digit(rest[i + 1]) : -1;
      const int low = i + 2 < rest.size() ? hex_digit(rest[i + 2]) : -1;
      if (high < 0 || low < 0) return false;
      c = static_cast<char>(high * 16 + low);
      i += 2;
    }
    if (c == '\0') return false;
    path += c;
  }
  return true;
}

struct RequestReader::Impl {
  explicit Impl(const HttpLimits& limits) : limits(limits) { begin(); }

  void begin() {
    parser.emplace();
    parser->header_limit(static_cast<std::uint32_t>(limits.max_header_bytes));
    parser->body_limit(limits.max_body_bytes);
    parser->on_chunk_header(count_chunk);
    header_told = false;
    num_chunks = 0;
    num_scanned = 0;
    num_empty_lines = 0;
  }

  ReadProgress fail(int status, std::string message) {
    error = {status, std::move(message)};
    failed = true;
    return ReadProgress::kFailed;
  }

  std::string_view data() const {
    const auto bytes = buffer.cdata();
    return {static_cast<const char*>(bytes.data()), bytes.size()};
  }

  // RFC 9112, 2.2: empty lines before a request are passed over.
  void skip_empty_lines() {
    while (num_empty_lines < kMaxEmptyLinesBefore && data().starts_with("\r\n")) {
      buffer.consume(2);
      ++num_empty_lines;
    }
  }

  // Finds a line end without CR in the header's new bytes.
  bool has_bare_line_feed() {
    const std::string_view text = data();
    for (; num_scanned < text.size(); ++num_scanned) {
      if (text[num_scanned] != '\n') continue;
      if (num_scanned == 0 || text[num_scanned - 1] != '\r') return true;
      if (num_scanned >= 3 && text.substr(num_scanned - 3, 4) == "\r\n\r\n") return false;
    }
    return false;
  }

  ReadProgress map_error(const beast::error_code& code) {
    if (code == http::error::header_limit) {
      return fail(431, fmt::format("the request's header is longer than {} bytes",
                                   limits.max_header_bytes));
    }
    if (code == http::error::body_limit) {
      return fail(
          413,
          num_chunks > limits.max_body_chunks
              ? fmt::format("the request's body has more than {} chunks", limits.max_body_chunks)
              : fmt::format("the request's body is longer than {} bytes", limits.max_body_bytes));
    }
    return fail(400, "malformed HTTP request: " + code.message());
  }

  // What the parser leaves to us, once all fields are there. 0 when the header is good.
  int check_header(std::string& message) {
    const auto& fields = parser->get();
    const auto num_fields = std::distance(fields.begin(), fields.end());
    if (num_fields > limits.max_header_fields) {
      message = fmt::format("the request has {} header fields, at most {} are allowed", num_fields,
                            limits.max_header_fields);
      return 431;
    }
    const std::size_t num_codings = fields.count(http::field::transfer_encoding);
    if (num_codings > 0) {
      if (fields.count(http::field::content_length) > 0) {
        message = "Content-Length together with Transfer-Encoding";
        return 400;
      }
      if (num_codings > 1 || fields.version() < 11 ||
          !beast::iequals(fields[http::field::transfer_encoding], "chunked")) {
        message = "the only Transfer-Encoding that is understood is \"chunked\", in HTTP/1.1";
        return 400;
      }
    }
    const std::size_t num_hosts = fields.count(http::field::host);
    if (num_hosts > 1 || (num_hosts == 0 && fields.version() >= 11)) {
      message = "a request needs exactly one Host field";
      return 400;
    }
    const auto content_coding = fields[http::field::content_encoding];
    if (fields.count(http::field::content_encoding) > 1 ||
        (!content_coding.empty() && !beast::iequals(content_coding, "identity"))) {
      message = fmt::format("the Content-Encoding \"{}\" is not understood; send the body as it is",
                            std::string(content_coding));
      return 400;
    }
    const auto expect = fields[http::field::expect];
    if (!expect.empty() && !beast::iequals(expect, "100-continue")) {
      message = "the only expectation that is understood is \"100-continue\"";
      return 417;
    }
    return 0;
  }

  ReadProgress read_header() {
    skip_empty_lines();
    if (data().empty() || data() == "\r") return ReadProgress::kNeedsMore;
    if (has_bare_line_feed()) return fail(400, "malformed HTTP request: a line ends without CR");
    beast::error_code code;
    buffer.consume(parser->put(buffer.cdata(), code));
    if (code == http::error::need_more) return ReadProgress::kNeedsMore;
    if (code) return map_error(code);
    if (!parser->is_header_done()) return ReadProgress::kNeedsMore;
    header_told = true;
    std::string message;
    if (const int status = check_header(message); status != 0) return fail(status, message);
    if (const auto length = parser->content_length(); length && *length > limits.max_body_bytes) {
      return map_error(http::make_error_code(http::error::body_limit));
    }
    return ReadProgress::kHeaderDone;
  }

  ReadProgress read_body() {
    parser->eager(true);
    while (!parser->is_done()) {
      if (buffer.size() == 0) return ReadProgress::kNeedsMore;
      beast::error_code code;
      const std::size_t num_used = parser->put(buffer.cdata(), code);
      buffer.consume(num_used);
      if (code && code != http::error::need_more) return map_error(code);
      if (parser->is_done()) break;
      if (num_used == 0 && buffer.size() > kMaxUnparsedBytes) {
        return fail(413, "malformed HTTP request: a chunk's header or a trailer is too long");
      }
      if (code == http::error::need_more || num_used == 0) return ReadProgress::kNeedsMore;
    }
    return ReadProgress::kComplete;
  }

  const HttpLimits limits;
  beast::flat_buffer buffer;
  std::optional<Parser> parser;
  bool header_told = false;
  bool failed = false;
  int num_chunks = 0;
  int num_empty_lines = 0;
  std::size_t num_scanned = 0;  // bytes of the header searched for bare LF
  HttpError error;
  std::function<void(std::uint64_t, std::string_view, beast::error_code&)> count_chunk =
      [this](std::uint64_t, std::string_view, beast::error_code& code) {
        if (++num_chunks > limits.max_body_chunks) code = http::error::body_limit;
      };
};

RequestReader::RequestReader(const HttpLimits& limits) : impl_(std::make_unique<Impl>(limits)) {}
RequestReader::~RequestReader() = default;
RequestReader::RequestReader(RequestReader&&) noexcept = default;

std::span<char> RequestReader::prepare(std::size_t size) {
  const auto room = impl_->buffer.prepare(size);
  return {static_cast<char*>(room.data()), room.size()};
}

void RequestReader::commit(std::size_t size) { impl_->buffer.commit(size); }

ReadProgress RequestReader::advance() {
  if (impl_->failed) return ReadProgress::kFailed;
  if (impl_->buffer.size() == 0 && !impl_->header_told) return ReadProgress::kNeedsMore;
  return impl_->header_told ? impl_->read_body() : impl_->read_header();
}

HttpRequest RequestReader::take_request() {
  auto message = impl_->parser->release();
  HttpRequest request;
  request.method = std::string(message.method_string());
  request.host = std::string(message[http::field::host]);
  request.origin = std::string(message[http::field::origin]);
  request.requested_headers = std::string(message[http::field::access_control_request_headers]);
  request.authorization = std::string(message[http::field::authorization]);
  request.tenant_id = std::string(message["x-tenant-id"]);
  request.request_id = std::string(message["x-request-id"]);
  request.timeout = std::string(message["x-request-timeout"]);
  if (message.count("traceparent") == 1) request.traceparent = std::string(message["traceparent"]);
  request.is_http_1_0 = message.version() < 11;
  request.keep_alive = message.keep_alive();
  if (!decode_target(std::string(message.target()), request.path)) request.path.clear();
  request.body = std::move(message.body());
  impl_->begin();
  return request;
}

const HttpError& RequestReader::error() const { return impl_->error; }

bool RequestReader::has_begun() const { return impl_->header_told || impl_->buffer.size() > 0; }

bool RequestReader::expects_continue() const {
  return !impl_->parser->is_done() && impl_->parser->get().count(http::field::expect) > 0 &&
         impl_->parser->get().version() >= 11;
}

std::size_t RequestReader::num_buffered() const { return impl_->buffer.size(); }

std::size_t RequestReader::declared_body_size() const {
  return static_cast<std::size_t>(impl_->parser->content_length().value_or(0));
}

std::size_t RequestReader::body_size() const { return impl_->parser->get().body().size(); }

std::string RequestReader::path() const {
  std::string path;
  return decode_target(std::string(impl_->parser->get().target()), path) ? path : std::string();
}

void RequestReader::shrink() { impl_->buffer.shrink_to_fit(); }

}  // namespace tutti::server
