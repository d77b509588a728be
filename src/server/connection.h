// One connection: reads requests, has them answered, writes the answers, and notices in every phase
// when the client has gone.
//
// A coroutine does one request after the other. While a generation runs, a second one watches the
// socket for the client's end; a write that makes no progress for write_timeout, or a client that
// is gone, ends the generation and with it its sequences. What the engine gives while a write waits
// stays in the generation's inbox as token ids.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/thread_pool.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <unordered_set>

#include "server/api.h"
#include "server/generation_call.h"
#include "server/host_guard.h"
#include "server/memory_budget.h"
#include "server/readiness.h"
#include "server/request_context.h"
#include "server/request_log.h"
#include "server/request_reader.h"
#include "server/server.h"
#include "server/signal.h"

namespace tutti::server {

class Connection;

inline Status shutting_down() { return {ErrorKind::kUnavailable, "the server is shutting down"}; }

// What all connections share. Thread safety: the I/O thread only, but for `state`.
struct ConnectionContext {
  const ServerOptions& options;
  boost::asio::io_context& io;
  boost::asio::thread_pool& workers;
  ApiState& state;
  HostGuard guard;
  std::shared_ptr<WakeQueue> wakes;
  Readiness readiness;
  MemoryBudget body_memory;
  TenantTable tenants;
  std::unordered_set<Connection*> connections;
  bool draining = false;    // answers end their connections, new requests are refused
  bool hands_over = false;  // while draining: somebody else gets new connections, ours are served
  bool ending = false;      // what still generates ends with an error
  std::function<void()> on_connection_end;  // after a connection left `connections`
};

// Thread safety: the I/O thread only.
class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(boost::asio::ip::tcp::socket socket, ConnectionContext& context);
  ~Connection();

  void start();
  // A request is being read or answered, or is due from a client whose connection nobody else
  // will take.
  bool is_busy() const { return !is_idle_ || (context_.hands_over && num_answered_ == 0); }
  // Ends it when it is not busy; `context.draining` ends the others.
  void close_if_idle();
  // With `context.ending`: ends it when it is idle; else what it generates ends with an error that
  // the client is told.
  void end_generation();
  // Ends it now; what it generates is cancelled.
  void abort();

 private:
  using Milliseconds = std::chrono::milliseconds;
  template <typename T>
  using Awaitable = boost::asio::awaitable<T>;

  Awaitable<void> run();
  Awaitable<bool> read_request(HttpRequest& request);
  Awaitable<bool> read_some(bool& begun);
  Awaitable<bool> refuse(int http_status, const Status& status);
  Awaitable<bool> respond(HttpRequest& request);
  Awaitable<bool> send(const HttpRequest& request, HttpResponse response);
  Awaitable<bool> send_error(const HttpRequest& request, const Route& route, const Status& status,
                             int retry_after = 1);
  Awaitable<bool> refuse_to(const HttpRequest& request, const Route& route, const Status& status,
                            int http_status);

  Awaitable<bool> generate(const Route& route, HttpRequest& request);
  Awaitable<std::shared_ptr<Result<GenerationCall>>> prepare(Endpoint endpoint, std::string body);
  Awaitable<bool> run_generation(const Route& route, const HttpRequest& request,
                                 GenerationCall& call);
  Awaitable<bool> send_whole(const Route& route, const HttpRequest& request, GenerationCall& call,
                             Generation& generation);
  Awaitable<bool> send_stream(const Route& route, const HttpRequest& request, GenerationCall& call,
                              Generation& generation);
  // Ends it with an error when its time is over or the server's is.
  void end_when_due(const GenerationCall& call, Generation& generation);
  // Writes the request's line of the log.
  // Cancels what still runs of the generation and waits a moment for the engine to say so, for its
  // times.
  boost::asio::awaitable<void> settle(Generation& generation);
  void finish_record(const Generation* generation);
  void keep_content(const std::vector<dialects::OutputDelta>& deltas);

  std::string stream_head(const HttpRequest& request, const dialects::ResponseRenderer& renderer,
                          bool keeps);

  void start_watching();
  Awaitable<void> stop_watching();
  Awaitable<void> watch();

  // False when the client is gone, too slow, or the connection was ended.
  Awaitable<bool> write(std::string_view data);
  Awaitable<void> linger();
  bool keeps_alive(const HttpRequest& request) const;

  void arm(Milliseconds timeout);
  void disarm();

  boost::asio::ip::tcp::socket socket_;
  ConnectionContext& context_;
  RequestReader reader_;
  MemoryShare body_memory_;
  boost::asio::steady_timer deadline_;
  RequestContext request_context_;
  RequestRecord record_;
  std::shared_ptr<Signal> signal_;  // output has come, work is done, or the client is gone
  bool timed_out_ = false;
  bool is_idle_ = true;
  int num_answered_ = 0;  // requests
  bool ended_ = false;    // by abort() or close_if_idle()
  bool watching_ = false;
  bool watcher_runs_ = false;
  bool disconnected_ = false;
};

}  // namespace tutti::server
