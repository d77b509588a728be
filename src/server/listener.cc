#include "server/listener.h"

#include <fmt/format.h>
#include <linux/filter.h>
#include <sys/socket.h>

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

using ReusePort = asio::detail::socket_option::boolean<SOL_SOCKET, SO_REUSEPORT>;

constexpr auto kAcceptPause = std::chrono::milliseconds(100);
// A handshake takes two ways over the network, and a second more when a packet was lost (RFC 6298).
constexpr auto kHandOverTime = std::chrono::milliseconds(1300);

// Numbers as they are; names by the resolver.
Result<tcp::endpoint> resolve(asio::io_context& io, const std::string& host, int port) {
  error_code code;
  const auto number = static_cast<unsigned short>(port);
  const std::string name = host.empty() ? "0.0.0.0" : host;
  const auto address = asio::ip::make_address(name, code);
  if (!code) return tcp::endpoint(address, number);
  tcp::resolver resolver(io);
  const auto found = resolver.resolve(name, std::to_string(port), tcp::resolver::passive, code);
  if (code || found.empty()) {
    return invalid_argument("host", fmt::format("the host \"{}\" is unknown", host));
  }
  for (const auto& entry : found) {
    if (entry.endpoint().address().is_v4()) return entry.endpoint();
  }
  return found.begin()->endpoint();
}

Status cannot_bind(const tcp::endpoint& endpoint, const error_code& code) {
  return {ErrorKind::kUnavailable,
          fmt::format("cannot listen on {} port {}: {}", endpoint.address().to_string(),
                      endpoint.port(), code.message())};
}

// A socket's value of one of SOL_SOCKET's options; -1 when there is none.
int socket_option(int socket, int name) {
  int value = -1;
  socklen_t size = sizeof(value);
  return getsockopt(socket, SOL_SOCKET, name, &value, &size) == 0 ? value : -1;
}

// Of the sockets that listen on one port, the second in the order they began gets all connections;
// where there is none, they are spread as without it. A port has two such sockets for the time in
// which one server replaces another.
void direct_to_the_next(int socket) {
  sock_filter code[] = {{BPF_RET | BPF_K, 0, 0, 1}};
  const sock_fprog program{1, code};
  if (setsockopt(socket, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &program, sizeof(program)) != 0) {
    log::warn("new connections cannot be directed to the next process: {}", std::strerror(errno));
  }
}

// What an earlier process may have left on the port.
void spread_evenly(int socket) {
  const int unused = 0;
  setsockopt(socket, SOL_SOCKET, SO_DETACH_REUSEPORT_BPF, &unused, sizeof(unused));
}

}  // namespace

Status Listener::open(const ListenerOptions& options) {
  is_shared_ = options.reuse_port || !options.inherited_sockets.empty();
  reuses_port_ = options.reuse_port && options.inherited_sockets.empty();
  if (options.inherited_sockets.empty()) {
    TUTTI_RETURN_IF_ERROR(bind(options));
  } else {
    TUTTI_RETURN_IF_ERROR(inherit(options.inherited_sockets));
  }
  error_code ignored;
  endpoint_ = acceptors_.front().local_endpoint(ignored);
  return {};
}

Status Listener::bind(const ListenerOptions& options) {
  TUTTI_ASSIGN_OR_RETURN(const tcp::endpoint endpoint, resolve(io_, options.host, options.port));
  Acceptor& acceptor = acceptors_.emplace_back(io_);
  error_code code;
  acceptor.open(endpoint.protocol(), code);
  if (!code) acceptor.set_option(tcp::acceptor::reuse_address(true), code);
  if (!code && options.reuse_port) acceptor.set_option(ReusePort(true), code);
  if (!code) acceptor.bind(endpoint, code);
  if (!code && !options.reuse_port) {
    acceptor.listen(asio::socket_base::max_listen_connections, code);
  }
  return code ? cannot_bind(endpoint, code) : Status();
}

Status Listener::inherit(const std::vector<int>& sockets) {
  for (const int socket : sockets) {
    const int domain = socket_option(socket, SO_DOMAIN);
    if (socket_option(socket, SO_ACCEPTCONN) != 1 || (domain != AF_INET && domain != AF_INET6) ||
        socket_option(socket, SO_TYPE) != SOCK_STREAM) {
      return invalid_argument(
          "inherited_sockets",
          fmt::format("file descriptor {} from the service manager is no listening TCP socket",
                      socket));
    }
    error_code code;
    acceptors_.emplace_back(io_).assign(domain == AF_INET ? tcp::v4() : tcp::v6(), socket, code);
    if (code) {
      return {ErrorKind::kUnavailable,
              fmt::format("cannot use file descriptor {}: {}", socket, code.message())};
    }
  }
  return {};
}

void Listener::start(Accept accept) {
  accept_ = std::move(accept);
  for (Acceptor& acceptor : acceptors_) {
    error_code code;
    if (reuses_port_) acceptor.listen(asio::socket_base::max_listen_connections, code);
    if (code) log::error("{}", cannot_bind(endpoint_, code).message());
    if (reuses_port_) spread_evenly(acceptor.native_handle());
    asio::co_spawn(io_, accept_all(acceptor), asio::detached);
  }
}

asio::awaitable<void> Listener::accept_all(Acceptor& acceptor) {
  while (acceptor.is_open()) {
    error_code code;
    tcp::socket socket(io_);
    co_await acceptor.async_accept(socket, asio::redirect_error(asio::use_awaitable, code));
    if (code == asio::error::operation_aborted || !acceptor.is_open()) break;
    if (code) {  // out of file descriptors, most likely: others will be given back
      log::warn("cannot accept a connection: {}", code.message());
      asio::steady_timer pause(io_, kAcceptPause);
      co_await pause.async_wait(asio::redirect_error(asio::use_awaitable, code));
      continue;
    }
    accept_(std::move(socket));
  }
}

void Listener::accept_what_waits(Acceptor& acceptor) {
  error_code code;
  acceptor.non_blocking(true, code);
  while (!code) {
    tcp::socket socket(io_);
    acceptor.accept(socket, code);
    if (!code) accept_(std::move(socket));
  }
}

void Listener::hand_over(std::function<void()> done) {
  if (!reuses_port_ || !accept_) return close();
  for (Acceptor& acceptor : acceptors_) direct_to_the_next(acceptor.native_handle());
  is_handing_over_ = true;
  hand_over_timer_.expires_after(kHandOverTime);
  hand_over_timer_.async_wait([this, done = std::move(done)](const error_code& code) {
    if (code) return;
    close();
    done();
  });
}

void Listener::close() {
  is_handing_over_ = false;
  hand_over_timer_.cancel();
  for (Acceptor& acceptor : acceptors_) {
    if (!acceptor.is_open()) continue;
    if (reuses_port_ && accept_) accept_what_waits(acceptor);
    error_code ignored;
    acceptor.close(ignored);
  }
}

}  // namespace tutti::server
