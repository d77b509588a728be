// The sockets that the server listens on: one that it binds itself, or those that a service manager
// handed over (systemd's socket activation).
//
// Two ways to replace a running server without a refused connection:
//   - handed-over sockets stay open with the service manager; connections wait in their queue until
//     the next process accepts them;
//   - with reuse_port the next process listens on the same port beside the first one, from when its
//     models are loaded. The first one, told to stop, directs new connections to the other, takes
//     what is in its own queue and closes.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <functional>
#include <string>
#include <vector>

#include "base/result.h"

namespace tutti::server {

struct ListenerOptions {
  std::string host;
  int port = 0;
  bool reuse_port = false;
  std::vector<int> inherited_sockets;  // listening TCP sockets; then host and port do not matter
};

// Thread safety: the I/O thread only.
class Listener {
 public:
  using Accept = std::function<void(boost::asio::ip::tcp::socket)>;

  explicit Listener(boost::asio::io_context& io) : io_(io) {}

  // Binds, and listens unless it shares its port. Errors: kUnavailable when the address cannot be
  // bound, naming it; kInvalidArgument.
  Status open(const ListenerOptions& options);
  // Listens, if it did not yet, and gives every connection to `accept` until it is closed.
  void start(Accept accept);
  // Of a port of its own: it is closed. Of a shared one: others get what comes from now on, and
  // what has come is accepted first.
  void close();

  // Somebody else gets the connections that come after close().
  bool is_shared() const { return is_shared_; }
  boost::asio::ip::tcp::endpoint endpoint() const { return endpoint_; }

 private:
  using Acceptor = boost::asio::ip::tcp::acceptor;

  Status bind(const ListenerOptions& options);
  Status inherit(const std::vector<int>& sockets);
  boost::asio::awaitable<void> accept_all(Acceptor& acceptor);
  void accept_what_waits(Acceptor& acceptor);

  boost::asio::io_context& io_;
  std::vector<Acceptor> acceptors_;
  boost::asio::ip::tcp::endpoint endpoint_;
  Accept accept_;
  bool is_shared_ = false;
  bool reuses_port_ = false;
};

}  // namespace tutti::server
