#include "server/server.h"

#include <fmt/format.h>
#include <sys/resource.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <csignal>

#include "base/log.h"
#include "server/connection.h"
#include "server/listener.h"

namespace tutti::server {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

namespace {

constexpr int kNumWorkers = 2;
// For clients to read how their requests ended, once the time to drain is over.
constexpr auto kWriteGrace = std::chrono::milliseconds(1000);

// A connection takes a file descriptor, and the usual soft limit is 1024.
void raise_file_limit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == limit.rlim_max) return;
  const rlim_t before = std::exchange(limit.rlim_cur, limit.rlim_max);
  if (setrlimit(RLIMIT_NOFILE, &limit) != 0) {
    log::warn("at most {} files and connections can be open", before);
  }
}

}  // namespace

struct Server::Impl {
  explicit Impl(const ServerOptions& the_options)
      : options(the_options),
        io(1),
        workers(kNumWorkers),
        listener(io),
        signals(io),
        hangups(io),
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
                TenantTable(options.tenants),
                {},
                false,
                false,
                false,
                {}} {
    state.vllm_metric_names = options.vllm_metric_names;
    context.on_connection_end = [this] { stop_when_drained(); };
  }

  void start_listening() {
    if (context.draining || std::exchange(is_listening, true)) return;
    listener.start([this](tcp::socket socket) {
      if (static_cast<int>(context.connections.size()) >= options.max_connections) return;
      std::make_shared<Connection>(std::move(socket), context)->start();
    });
  }

  // Tells the service manager's watchdog that all is well, while it is.
  asio::awaitable<void> feed_watchdog() {
    const auto interval = options.service_manager.watchdog() / 2;
    asio::steady_timer timer(io);
    while (true) {
      timer.expires_after(interval);
      error_code code;
      co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, code));
      if (!context.readiness.is_stalled()) options.service_manager.notify("WATCHDOG=1");
    }
  }

  // On the I/O thread. The first call drains, the second ends all requests, the third all
  // connections.
  void stop() {
    if (context.ending) return abort_all();
    if (context.draining) return end_all();
    context.draining = true;
    is_stopping = true;
    options.service_manager.notify("STOPPING=1");
    context.hands_over = listener.is_shared();
    if (context.hands_over) listener.hand_over([this] { stop_when_drained(); });
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

  // With all requests answered, the connections that are left only wait for others.
  void stop_when_drained() {
    if (!context.draining || is_closing) return;
    if (listener.is_handing_over() && !context.ending) return;
    for (const Connection* connection : context.connections) {
      if (connection->is_busy()) return;
    }
    is_closing = true;
    listener.close();
    for (Connection* connection : connections()) connection->abort();
    if (!context.connections.empty()) {
      is_closing = false;  // once more when the last one has gone
      return;
    }
    drain_timer.cancel();
    error_code ignored;
    hangups.cancel(ignored);
    signals.cancel(ignored);
    signals.clear(ignored);  // from now on Ctrl-C ends the program
    work.reset();
    io.stop();
  }

  // A copy: ending one changes the set.
  std::vector<Connection*> connections() const {
    return {context.connections.begin(), context.connections.end()};
  }

  ServerOptions options;
  ApiState state;
  asio::io_context io;
  asio::thread_pool workers;
  Listener listener;
  asio::signal_set signals;
  asio::signal_set hangups;
  asio::steady_timer drain_timer;
  std::shared_ptr<WakeQueue> wakes;
  ConnectionContext context;
  bool is_listening = false;
  bool is_closing = false;
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
  TUTTI_RETURN_IF_ERROR(impl->listener.open(
      {options.host, options.port, options.reuse_port, options.inherited_sockets}));
  impl->work.emplace(impl->io.get_executor());
  if (!impl->listener.is_shared()) impl->start_listening();
  asio::co_spawn(impl->io, impl->context.readiness.watch(), asio::detached);
  if (options.service_manager.watchdog().count() > 0) {
    asio::co_spawn(impl->io, impl->feed_watchdog(), asio::detached);
  }
  return std::unique_ptr<Server>(new Server(std::move(impl)));
}

Server::~Server() {
  // Connections end on the I/O thread's loop, which is this thread's now.
  impl_->context.draining = true;
  impl_->context.on_connection_end = {};
  impl_->is_closing = true;
  impl_->listener.close();
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

void Server::set_loading_failed(const std::string& reason) {
  impl_->state.registry.set_loading_done(false, reason);
}

void Server::set_loaded(std::function<void()> on_listening) {
  impl_->state.registry.set_loading_done(true, "");
  asio::post(impl_->io, [impl = impl_.get(), on_listening = std::move(on_listening)] {
    impl->start_listening();
    if (impl->context.draining) return;
    impl->options.service_manager.notify("READY=1");
    if (on_listening) on_listening();
  });
}

std::string Server::default_model_name() const {
  const auto models = impl_->state.registry.all();
  return models.empty() ? std::string() : models.front().model->info.name;
}

int Server::port() const { return impl_->listener.endpoint().port(); }

std::string Server::address() const {
  const auto address = impl_->listener.endpoint().address();
  const std::string loopback = address.is_v6() ? "::1" : "127.0.0.1";
  const std::string host = address.is_unspecified() ? loopback : address.to_string();
  return fmt::format("http://{}:{}", address.is_v6() ? "[" + host + "]" : host, port());
}

void Server::run() { impl_->io.run(); }

bool Server::is_stopping() const { return impl_->is_stopping; }

void Server::stop() {
  asio::post(impl_->io, [impl = impl_.get()] { impl->stop(); });
}

void Server::reload(const ServerOptions& options) {
  asio::post(impl_->io, [impl = impl_.get(), options] {
    const ServerOptions before = std::exchange(impl->options, options);
    impl->options.host = before.host;
    impl->options.port = before.port;
    impl->options.reuse_port = before.reuse_port;
    impl->options.inherited_sockets = before.inherited_sockets;
    impl->options.service_manager = before.service_manager;
    ConnectionContext& context = impl->context;
    context.guard = HostGuard(before.host, options.allowed_hosts, options.allowed_origins);
    context.tenants = TenantTable(options.tenants);
    context.body_memory.set_limit(options.max_body_memory);
    impl->state.vllm_metric_names = options.vllm_metric_names;
  });
}

void Server::on_hangup(std::function<void()> reload) {
  impl_->hangups.add(SIGHUP);
  struct Wait {
    Impl* impl;
    std::function<void()> reload;
    void operator()(const error_code& code, int) const {
      if (code) return;
      impl->options.service_manager.notify_reloading();
      reload();
      // After what reload() has posted.
      asio::post(impl->io, [impl = impl] { impl->options.service_manager.notify("READY=1"); });
      impl->hangups.async_wait(*this);
    }
  };
  impl_->hangups.async_wait(Wait{impl_.get(), std::move(reload)});
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
