// The HTTP server: sockets, framing, limits, routes. What a body means is dialects' business, what
// becomes of it generation.h's.
//
// One I/O thread holds all connections (a coroutine each); a small pool parses and tokenises large
// bodies. HTTP/1.1 with keep-alive; responses of streams are chunked.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "server/service_manager.h"
#include "server/tenants.h"
#include "store/loaded_model.h"

namespace tutti::server {

struct ServerOptions {
  std::string host = "127.0.0.1";  // an IP address or a name; "" and "0.0.0.0" mean all of IPv4
  int port = 11434;                // 0: any free one, see Server::port()

  // Framing. Over a limit: 413 or 431, and the connection is closed.
  std::size_t max_header_bytes = 32 << 10;  // request line and all fields
  int max_header_fields = 100;              // fields of a request
  std::size_t max_body_bytes = 64 << 20;    // after chunked decoding
  int max_body_chunks = 32 << 10;           // chunks of a chunked body
  // What has come of the bodies of all requests together, until they are parsed. What would go over
  // it is refused with 503 and Retry-After, where the header says so before the body is read.
  std::size_t max_body_memory = 256 << 20;
  std::size_t max_pipelined_bytes = 64 << 10;  // read ahead while a response is being written
  int max_connections = 4096;                  // further ones are closed at once

  // Time. Over a limit: 408 where a request has begun, else the connection is closed.
  std::chrono::milliseconds header_timeout{10'000};  // from the first byte to the empty line
  std::chrono::milliseconds body_timeout{60'000};    // from the header's end to the body's
  std::chrono::milliseconds idle_timeout{120'000};   // between requests
  std::chrono::milliseconds write_timeout{60'000};   // a write that makes no progress
  std::chrono::milliseconds drain_timeout{30'000};   // running streams, after stop()
  std::chrono::milliseconds sse_keep_alive{10'000};  // a stream of events without output

  // Host header: loopback names, IP addresses and the bound name are always allowed.
  std::vector<std::string> allowed_hosts;
  // Origin header of browsers, OLLAMA_ORIGINS: "https://chat.example", "*", "http://10.0.0.*".
  // Loopback origins and the server's own are always allowed.
  std::vector<std::string> allowed_origins;

  bool vllm_metric_names = false;  // /metrics also lists what it has under vLLM's names
  bool log_content = false;        // the log has prompts and answers
  std::vector<TenantSettings> tenants;

  // Others may listen on the same port (reuse_port), or keep connections for us (inherited sockets,
  // in place of host and port): then this server accepts from when its models are loaded.
  bool reuse_port = false;
  std::vector<int> inherited_sockets;
  ServiceManager service_manager;
};

// Thread safety: every member may be called from any thread; run() from one.
class Server {
 public:
  // Binds and listens. Until a model was added, /ready and requests answer 503 "loading".
  // Raises the process's soft limit of open files to the hard one.
  // Errors: kUnavailable when the address cannot be bound, naming it; kInvalidArgument.
  static Result<std::unique_ptr<Server>> start(const ServerOptions& options);
  ~Server();  // stops at once

  // Makes a model known. Requests need not name it while it is the only one.
  void add_model(std::shared_ptr<store::LoadedModel> model);
  // The name of the first model that was added; empty while there is none.
  std::string default_model_name() const;
  // No more models will be added. `on_listening` is called on the thread of run() when connections
  // are taken, unless the server is stopping by then: whoever stops another process on its port
  // must wait for that.
  void set_loaded(std::function<void()> on_listening = {});
  // /ready stays 503 with `reason`.
  void set_loading_failed(const std::string& reason);

  int port() const;
  std::string address() const;  // "http://127.0.0.1:11434"

  // Serves on the calling thread until stop().
  void run();
  // Lets running requests end up to drain_timeout, ends those left with an error that their clients
  // are told (503, or one in the stream) within a second, then makes run() return. Meanwhile new
  // requests and /ready are answered with 503; but where somebody else gets new connections
  // (reuse_port, inherited sockets), what had been accepted is served, and with reuse_port also
  // what is under way: it listens for another second or so. A second call cuts the first time
  // short, a third both. Async-signal-unsafe: call it from a thread or from stop_on_signals().
  void stop();
  // Takes over what can change while it runs: limits, timeouts, guards, tenants, metric names,
  // content in the log. Connections that are open keep their limits of framing.
  void reload(const ServerOptions& options);
  // SIGHUP calls `reload`, on the thread of run().
  void on_hangup(std::function<void()> reload);

  // Since the first stop().
  bool is_stopping() const;
  // SIGINT and SIGTERM call stop().
  void stop_on_signals();

 private:
  struct Impl;
  explicit Server(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace tutti::server
