// Bytes of a connection to requests: HTTP/1.1 framing with caps. No sockets here.
//
// Refused, with a status of its own: more header bytes, fields, body bytes or chunks than the caps
// (431, 413); Content-Length together with Transfer-Encoding, several or negative lengths, a coding
// other than "chunked", a Content-Encoding, bare LF as a line's end, a missing or repeated Host,
// bad syntax (400). Message syntax: RFC 9112, read by Boost.Beast's parser.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>

#include "server/http_types.h"

namespace tutti::server {

struct HttpLimits {
  std::size_t max_header_bytes = 32 << 10;
  int max_header_fields = 100;
  std::size_t max_body_bytes = 64 << 20;
  int max_body_chunks = 32 << 10;
};

enum class ReadProgress {
  kNeedsMore,
  kHeaderDone,  // told once a request, before its body; call advance() again
  kComplete,    // take_request() gives it
  kFailed,      // error(): answer with it and close
};

// What stands in a request's way.
struct HttpError {
  int status = 0;
  std::string message;
};

// Thread safety: one thread at a time.
class RequestReader {
 public:
  explicit RequestReader(const HttpLimits& limits);
  ~RequestReader();
  RequestReader(RequestReader&&) noexcept;

  // Room for up to `size` bytes from the socket; commit() says how many have come.
  std::span<char> prepare(std::size_t size);
  void commit(std::size_t size);

  // Reads on in what has come. Bytes after a complete request stay for the next one.
  ReadProgress advance();
  HttpRequest take_request();

  // Meaningful after kFailed.
  const HttpError& error() const;
  // Whether bytes of a request have come that is not complete.
  bool has_begun() const;
  // The client waits for "100 Continue" before it sends the body. Meaningful after kHeaderDone.
  bool expects_continue() const;
  std::size_t num_buffered() const;
  // The length of the body as its header gives it, 0 when it gives none; and what has come of it.
  // Meaningful after kHeaderDone.
  std::size_t declared_body_size() const;
  std::size_t body_size() const;
  // The request's path as far as it has come, before the request is complete.
  std::string path() const;
  // Gives memory that holds no bytes back, for the time while the connection is idle.
  void shrink();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// The path of a request target ("/a%20b?c=d", "http://host/a"), percent-decoded; false for bad
// escapes, NUL or a form that is none of the two.
bool decode_target(const std::string& target, std::string& path);

}  // namespace tutti::server
