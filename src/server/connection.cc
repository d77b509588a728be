#include "server/connection.h"

#include <fmt/format.h>

#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "base/log.h"

namespace tutti::server {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

namespace {

constexpr std::size_t kReadSize = 16 << 10;
// After an answer that ends the connection, what the client still sends is read for a while, so
// that a reset does not take the answer away from it.
constexpr auto kLingerTime = std::chrono::milliseconds(2000);
constexpr std::size_t kMaxLingerBytes = std::size_t{128} << 20;

HttpLimits limits_of(const ServerOptions& options) {
  return {options.max_header_bytes, options.max_header_fields, options.max_body_bytes,
          options.max_body_chunks};
}

Status no_memory() {
  return {ErrorKind::kUnavailable,
          "too many request bodies are being read at once, please try again"};
}

}  // namespace

Connection::Connection(tcp::socket socket, ConnectionContext& context)
    : socket_(std::move(socket)),
      context_(context),
      reader_(limits_of(context.options)),
      body_memory_(context.body_memory),
      deadline_(context.io),
      signal_(std::make_shared<Signal>(context.io)) {
  context_.connections.insert(this);
  ++context_.state.counters.num_connections;
}

Connection::~Connection() {
  context_.connections.erase(this);
  --context_.state.counters.num_connections;
  if (context_.on_connection_end) context_.on_connection_end();
}

void Connection::start() {
  asio::co_spawn(
      context_.io, [self = shared_from_this()] { return self->run(); }, asio::detached);
}

void Connection::close_if_idle() {
  if (!is_busy()) abort();
}

void Connection::end_generation() {
  close_if_idle();
  signal_->notify();
}

void Connection::abort() {
  ended_ = true;
  disconnected_ = true;
  error_code ignored;
  socket_.close(ignored);
  deadline_.cancel();
  signal_->notify();
}

void Connection::arm(Milliseconds timeout) {
  timed_out_ = false;
  deadline_.expires_after(timeout);
  deadline_.async_wait([self = shared_from_this()](const error_code& code) {
    if (code || self->deadline_.expiry() > SteadyClock::now()) return;
    self->timed_out_ = true;
    error_code ignored;
    self->socket_.cancel(ignored);
  });
}

// A handler that is on its way already sees by the expiry that its time is not now.
void Connection::disarm() { deadline_.expires_at(TimePoint::max()); }

asio::awaitable<void> Connection::run() {
  error_code ignored;
  socket_.non_blocking(true, ignored);
  socket_.set_option(tcp::no_delay(true), ignored);
  bool keeps = true;
  while (keeps && !ended_) {
    HttpRequest request;
    if (!co_await read_request(request)) break;
    request_context_ = make_request_context(request, context_.tenants);
    record_ = {};
    keeps = co_await respond(request);
    ++num_answered_;
    if (keeps && context_.draining) {  // since the answer's header promised to go on
      co_await linger();
      break;
    }
  }
  disarm();
  socket_.close(ignored);
}

asio::awaitable<bool> Connection::read_request(HttpRequest& request) {
  bool begun = false, has_header = false;
  is_idle_ = !reader_.has_begun();
  body_memory_.release();
  if (is_idle_) reader_.shrink();
  arm(context_.hands_over ? context_.options.header_timeout : context_.options.idle_timeout);
  while (true) {
    if (!begun && reader_.has_begun()) {
      begun = true;
      is_idle_ = false;
      arm(context_.options.header_timeout);
    }
    switch (reader_.advance()) {
      case ReadProgress::kComplete:
        disarm();
        if (!body_memory_.grow_to(reader_.body_size())) {
          co_return co_await refuse(503, no_memory());
        }
        request = reader_.take_request();
        co_return true;
      case ReadProgress::kFailed:
        disarm();
        co_return co_await refuse(reader_.error().status,
                                  invalid_argument("", reader_.error().message));
      case ReadProgress::kHeaderDone:
        arm(context_.options.body_timeout);
        if (!context_.body_memory.has_room(reader_.declared_body_size())) {
          disarm();
          co_return co_await refuse(503, no_memory());
        }
        has_header = true;
        if (reader_.expects_continue() && reader_.num_buffered() == 0) {
          const bool written = co_await write("HTTP/1.1 100 Continue\r\n\r\n");
          if (!written) co_return false;
        }
        break;
      case ReadProgress::kNeedsMore:
        if (has_header && !body_memory_.grow_to(reader_.body_size())) {
          disarm();
          co_return co_await refuse(503, no_memory());
        }
        if (!co_await read_some(begun)) co_return false;
        break;
    }
  }
}

// Waits without a buffer, so that an idle connection holds none.
asio::awaitable<bool> Connection::read_some(bool& begun) {
  error_code code;
  const auto room = [this] { return reader_.prepare(kReadSize); };
  std::span<char> buffer = begun ? room() : std::span<char>();
  std::size_t num_read =
      begun ? socket_.read_some(asio::buffer(buffer.data(), buffer.size()), code) : 0;
  if (!begun || code == asio::error::would_block) {
    code = {};
    co_await socket_.async_wait(tcp::socket::wait_read,
                                asio::redirect_error(asio::use_awaitable, code));
    if (!code) {
      buffer = room();
      num_read = socket_.read_some(asio::buffer(buffer.data(), buffer.size()), code);
      if (code == asio::error::would_block) co_return true;
    }
  }
  if (code) {
    if (timed_out_ && begun && !ended_) {
      co_await refuse(408, invalid_argument("", "the request did not arrive in time"));
    }
    co_return false;
  }
  reader_.commit(num_read);
  co_return true;
}

asio::awaitable<bool> Connection::refuse(int http_status, const Status& status) {
  context_.state.counters.count_response(http_status);
  log::debug("refused a request: {} {}", http_status, status.message());
  HttpResponse response = render_error(find_route({.path = reader_.path()}).dialect, status);
  response.status = http_status;
  add_context_headers(make_request_context(), response);
  const std::string head =
      format_response_head(response, HttpRequest(), BodyFraming::kContentLength, false);
  if (co_await write(head + response.body)) co_await linger();
  co_return false;
}

bool Connection::keeps_alive(const HttpRequest& request) const {
  return request.keep_alive && !context_.draining && !ended_;
}

asio::awaitable<bool> Connection::respond(HttpRequest& request) {
  const Route route = find_route(request);
  if (!context_.guard.allows_host(request.host)) {
    co_return co_await refuse_to(
        request, route,
        invalid_argument(
            "", fmt::format("the Host \"{}\" is not allowed; see --allowed-hosts", request.host)),
        403);
  }
  if (!context_.guard.allows_origin(request.origin, request.host)) {
    co_return co_await refuse_to(
        request, route,
        invalid_argument("", "pages of this origin are not allowed; see --allowed-origins"), 403);
  }
  if (request.method == "OPTIONS" && !request.origin.empty()) {
    co_return co_await send(request, context_.guard.preflight_response(request));
  }
  const bool stops = context_.draining && !context_.hands_over;
  if (stops && is_generation(route.endpoint)) {
    co_return co_await refuse_to(request, route, shutting_down(), 503);
  }
  if (is_generation(route.endpoint)) co_return co_await generate(route, request);
  if (route.endpoint == Endpoint::kReady) {
    Status status = shutting_down();
    if (!context_.draining) status = co_await context_.readiness.check();
    co_return co_await send(request, ready_response(status));
  }
  co_return co_await send(request, answer(route, request, context_.state));
}

asio::awaitable<bool> Connection::refuse_to(const HttpRequest& request, const Route& route,
                                            const Status& status, int http_status) {
  HttpResponse response = render_error(route.dialect, status);
  response.status = http_status;
  co_return co_await send(request, std::move(response));
}

asio::awaitable<bool> Connection::send(const HttpRequest& request, HttpResponse response) {
  context_.state.counters.count_response(response.status);
  record_.status = response.status;
  log::debug("{} {} {} {}", request_context_.id, request.method, request.path, response.status);
  add_context_headers(request_context_, response);
  if (request.method != "OPTIONS") {
    for (auto& header : context_.guard.cors_headers(request))
      response.headers.push_back(std::move(header));
  }
  const bool keeps = keeps_alive(request);
  std::string bytes = format_response_head(response, request, BodyFraming::kContentLength, keeps);
  if (!request.is_head() && response.status != 204) bytes += response.body;
  if (!co_await write(bytes)) co_return false;
  if (!keeps) co_await linger();
  co_return keeps;
}

asio::awaitable<bool> Connection::write(std::string_view data) {
  while (!data.empty()) {
    error_code code;
    data.remove_prefix(socket_.write_some(asio::buffer(data), code));
    if (!code) continue;
    if (code != asio::error::would_block) co_return false;
    arm(context_.options.write_timeout);
    code = {};
    co_await socket_.async_wait(tcp::socket::wait_write,
                                asio::redirect_error(asio::use_awaitable, code));
    disarm();
    if (code || timed_out_ || disconnected_) co_return false;
  }
  co_return !disconnected_;
}

asio::awaitable<void> Connection::linger() {
  error_code code;
  socket_.shutdown(tcp::socket::shutdown_send, code);
  arm(kLingerTime);
  std::size_t num_read = 0;
  std::vector<char> buffer(kReadSize);
  while (!code && num_read < kMaxLingerBytes && !timed_out_) {
    num_read += co_await socket_.async_read_some(asio::buffer(buffer),
                                                 asio::redirect_error(asio::use_awaitable, code));
  }
  disarm();
}

}  // namespace tutti::server
