// The sockets that the server listens on: one that it binds itself, or those that a service manager
// handed over (systemd's socket activation).
//
// Two ways to replace a running server without a refused connection:
//   - handed-over sockets stay open with the service manager; connections wait in their queue until
//     the next process accepts them;
//   - with reuse_port the next process listens on the same port beside the first one, from when its
//     models are loaded. The first one, told to stop, directs new connections to the other, and
//     goes on to accept those whose handshake had begun: the system resets what a listening socket
//     has in its queues when it is closed.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
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

  explicit Listener(boost::asio::io_context& io) : io_(io), hand_over_timer_(io) {}

  // Binds, and listens unless it shares its port. Errors: kUnavailable when the address cannot be
  // bound, naming it; kInvalidArgument.
  Status open(const ListenerOptions& options);
  // Listens, if it did not yet, and gives every connection to `accept` until it is closed.
  void start(Accept accept);
  // Somebody else gets the connections that come from now on. With reuse_port those that are under
  // way are still accepted, for a second or so; then it is closed, and `done` is called. Other
  // sockets are closed at once: what is in their queue stays there for the next process.
  void hand_over(std::function<void()> done);
  bool is_handing_over() const { return is_handing_over_; }
  // What waits on a shared port is accepted first.
  void close();

  // It has somebody to hand over to.
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
  bool is_handing_over_ = false;
  boost::asio::steady_timer hand_over_timer_;
};

}  // namespace tutti::server
