#include "server/server.h"

#include <fmt/format.h>
#include <sys/resource.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <csignal>

#include "base/log.h"
#include "server/connection.h"

namespace tutti::server {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

namespace {

constexpr int kNumWorkers = 2;
constexpr auto kAcceptPause = std::chrono::milliseconds(100);
// For clients to read how their requests ended, once the time to drain is over.
constexpr auto kWriteGrace = std::chrono::milliseconds(1000);

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

// A connection takes a file descriptor, and the usual soft limit is 1024.
void raise_file_limit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == limit.rlim_max) return;
  const rlim_t before = std::exchange(limit.rlim_cur, limit.rlim_max);
  if (setrlimit(RLIMIT_NOFILE, &limit) != 0) {
    log::warn("at most {} files and connections can be open", before);
  }
}

Status cannot_bind(const tcp::endpoint& endpoint, const error_code& code) {
  return {ErrorKind::kUnavailable,
          fmt::format("cannot listen on {} port {}: {}", endpoint.address().to_string(),
                      endpoint.port(), code.message())};
}

}  // namespace

struct Server::Impl {
  explicit Impl(const ServerOptions& the_options)
      : options(the_options),
        io(1),
        workers(kNumWorkers),
        acceptor(io),
        signals(io),
        drain_timer(io),
        wakes(std::make_shared<WakeQueue>(io)),
        context{options,
                io,
                workers,
                state,
                HostGuard(options.host, options.allowed_hosts, options.allowed_origins),
                wakes,
                Readiness(io, state.registry, wakes),
                MemoryBudget(options.max_body_memory),
                {},
                false,
                false,
                {}} {
    state.vllm_metric_names = options.vllm_metric_names;
    context.on_connection_end = [this] { stop_when_drained(); };
  }

  Status listen() {
    TUTTI_ASSIGN_OR_RETURN(const tcp::endpoint endpoint, resolve(io, options.host, options.port));
    error_code code;
    acceptor.open(endpoint.protocol(), code);
    if (!code) acceptor.set_option(tcp::acceptor::reuse_address(true), code);
    if (!code) acceptor.bind(endpoint, code);
    if (!code) acceptor.listen(asio::socket_base::max_listen_connections, code);
    if (code) return cannot_bind(endpoint, code);
    bound = acceptor.local_endpoint(code);
    return {};
  }

  asio::awaitable<void> accept_all() {
    while (acceptor.is_open()) {
      error_code code;
      tcp::socket socket(io);
      co_await acceptor.async_accept(socket, asio::redirect_error(asio::use_awaitable, code));
      if (code == asio::error::operation_aborted || !acceptor.is_open()) break;
      if (code) {  // out of file descriptors, most likely: others will be given back
        log::warn("cannot accept a connection: {}", code.message());
        asio::steady_timer pause(io, kAcceptPause);
        co_await pause.async_wait(asio::redirect_error(asio::use_awaitable, code));
        continue;
      }
      if (static_cast<int>(context.connections.size()) >= options.max_connections) continue;
      std::make_shared<Connection>(std::move(socket), context)->start();
    }
  }

  // On the I/O thread. The first call drains, the second ends all requests, the third all
  // connections.
  void stop() {
    if (context.ending) return abort_all();
    if (context.draining) return end_all();
    context.draining = true;
    is_stopping = true;
    error_code ignored;
    acceptor.close(ignored);
    for (Connection* connection : connections()) connection->close_if_idle();
    drain_timer.expires_after(options.drain_timeout);
    drain_timer.async_wait([this](const error_code& code) {
      if (!code && !context.ending) end_all();
    });
    stop_when_drained();
  }

  // Every request that is still open ends with an error; a client that does not read it in time
  // loses its connection.
  void end_all() {
    context.ending = true;
    for (Connection* connection : connections()) connection->end_generation();
    drain_timer.expires_after(kWriteGrace);
    drain_timer.async_wait([this](const error_code& code) {
      if (!code) abort_all();
    });
    stop_when_drained();
  }

  void abort_all() {
    for (Connection* connection : connections()) connection->abort();
    stop_when_drained();
  }

  void stop_when_drained() {
    if (!context.draining || !context.connections.empty()) return;
    drain_timer.cancel();
    error_code ignored;
    signals.cancel(ignored);
    signals.clear(ignored);  // from now on Ctrl-C ends the program
    work.reset();
    io.stop();
  }

  // A copy: ending one changes the set.
  std::vector<Connection*> connections() const {
    return {context.connections.begin(), context.connections.end()};
  }

  const ServerOptions options;
  ApiState state;
  asio::io_context io;
  asio::thread_pool workers;
  tcp::acceptor acceptor;
  asio::signal_set signals;
  asio::steady_timer drain_timer;
  std::shared_ptr<WakeQueue> wakes;
  ConnectionContext context;
  tcp::endpoint bound;
  std::atomic<bool> is_stopping{false};
  std::optional<asio::executor_work_guard<asio::io_context::executor_type>> work;
};

Server::Server(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Result<std::unique_ptr<Server>> Server::start(const ServerOptions& options) {
  if (options.port < 0 || options.port > 65535) {
    return invalid_argument("port", fmt::format("port is {}, must be in [0, 65535]", options.port));
  }
  if (options.max_body_memory < options.max_body_bytes) {
    return invalid_argument(
        "max-body-memory",
        fmt::format("max-body-memory is {} bytes, less than max-body-size, which is {}",
                    options.max_body_memory, options.max_body_bytes));
  }
  raise_file_limit();
  auto impl = std::make_unique<Impl>(options);
  TUTTI_RETURN_IF_ERROR(impl->listen());
  impl->work.emplace(impl->io.get_executor());
  asio::co_spawn(impl->io, impl->accept_all(), asio::detached);
  return std::unique_ptr<Server>(new Server(std::move(impl)));
}

Server::~Server() {
  // Connections end on the I/O thread's loop, which is this thread's now.
  impl_->context.draining = true;
  impl_->context.on_connection_end = {};
  error_code ignored;
  impl_->acceptor.close(ignored);
  impl_->abort_all();
  impl_->io.restart();
  while (!impl_->context.connections.empty() && impl_->io.run_one() > 0) {
  }
  impl_->workers.stop();
  impl_->workers.join();
  impl_->wakes->close();
}

void Server::add_model(std::shared_ptr<store::LoadedModel> model) {
  impl_->state.registry.add(std::move(model));
}

void Server::set_loading_done(bool succeeded, const std::string& reason) {
  impl_->state.registry.set_loading_done(succeeded, reason);
}

std::string Server::default_model_name() const {
  const auto models = impl_->state.registry.all();
  return models.empty() ? std::string() : models.front().model->info.name;
}

int Server::port() const { return impl_->bound.port(); }

std::string Server::address() const {
  const auto address = impl_->bound.address();
  const std::string loopback = address.is_v6() ? "::1" : "127.0.0.1";
  const std::string host = address.is_unspecified() ? loopback : address.to_string();
  return fmt::format("http://{}:{}", address.is_v6() ? "[" + host + "]" : host, port());
}

void Server::run() { impl_->io.run(); }

bool Server::is_stopping() const { return impl_->is_stopping; }

void Server::stop() {
  asio::post(impl_->io, [impl = impl_.get()] { impl->stop(); });
}

void Server::stop_on_signals() {
  impl_->signals.add(SIGINT);
  impl_->signals.add(SIGTERM);
  struct Wait {
    Impl* impl;
    void operator()(const error_code& code, int number) const {
      if (code) return;
      log::info("signal {}: stopping", number);
      impl->signals.async_wait(*this);
      impl->stop();
    }
  };
  impl_->signals.async_wait(Wait{impl_.get()});
}

}  // namespace tutti::server
