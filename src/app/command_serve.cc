#include <fmt/format.h>

#include <atomic>
#include <boost/asio/ip/address.hpp>
#include <cstdio>
#include <thread>

#include "app/commands.h"
#include "app/settings.h"
#include "base/log.h"
#include "base/thread_pool.h"
#include "server/server.h"
#include "store/loaded_model.h"

namespace tutti::app {
namespace {

Result<server::ServerOptions> server_options(const ServeOptions& options) {
  using std::chrono::seconds;
  server::ServerOptions server;
  server.host = options.host;
  server.port = options.port;
  auto body = parse_byte_size(options.max_body_size);
  if (!body.ok()) return body.status().with_context("--max-body-size");
  server.max_body_bytes = *body;
  server.header_timeout = seconds(options.header_timeout_seconds);
  server.body_timeout = seconds(options.body_timeout_seconds);
  server.write_timeout = seconds(options.write_timeout_seconds);
  server.drain_timeout = seconds(options.drain_timeout_seconds);
  server.allowed_hosts = options.allowed_hosts;
  server.allowed_origins = options.allowed_origins;
  server.vllm_metric_names = options.vllm_metric_names;
  return server;
}

bool is_loopback(const std::string& host) {
  if (host == "localhost") return true;
  boost::system::error_code error;
  const auto address = boost::asio::ip::make_address(host, error);
  return !error && address.is_loopback();
}

Status check_names(const ServeOptions& options) {
  const std::size_t num_models = std::max<std::size_t>(options.models.size(), 1);
  const auto& names = options.served_model_names;
  if (!names.empty() && names.size() != num_models) {
    return invalid_argument(
        "served-model-name",
        fmt::format("--served-model-name: {} names for {} models", names.size(), num_models));
  }
  return {};
}

// Loads every model and hands it to the server. The first error stops the loading.
Status load_models(const ServeOptions& options, server::Server& server) {
  std::vector<std::string> models = options.models;
  if (models.empty()) models.emplace_back();
  std::size_t promised_bytes = 0;
  for (std::size_t i = 0; i < models.size(); ++i) {
    TUTTI_ASSIGN_OR_RETURN(auto load, make_load_options(models[i], options.model));
    load.max_waiting = options.max_waiting;
    load.promised_bytes = promised_bytes;
    TUTTI_ASSIGN_OR_RETURN(auto model, load_with_progress(load));
    promised_bytes += model->promised_bytes;
    if (!options.served_model_names.empty()) model->info.name = options.served_model_names[i];
    const store::MemoryPlan& plan = model->plan;
    log::info(
        "{}: {} {} {}, context {}, {} blocks of {} positions ({:.1f} MiB), loaded in {:.2f} s",
        model->info.name, model->info.family, model->info.parameter_size,
        model->info.quantization_level, plan.max_model_len, plan.num_blocks, kBlockSize,
        static_cast<double>(plan.kv_cache()) / (1 << 20), to_seconds(model->load_duration));
    log::info("{}: compute {}, instruction set {}, {} threads", model->info.name,
              device::to_string(model->ops->compute_class()), device::to_string(model->ops->isa()),
              model->ops->pool().num_threads());
    server.add_model(std::move(model));
  }
  return {};
}

void print_welcome(const server::Server& server, const std::string& model) {
  fmt::print(
      "\nTutti is ready: {0}\n\nTry:\n  curl {0}/v1/chat/completions -H 'Content-Type: "
      "application/json' \\\n    -d '{{\"model\": \"{1}\", \"messages\": [{{\"role\": \"user\", "
      "\"content\": \"Hello!\"}}]}}'\n\n",
      server.address(), model);
  std::fflush(stdout);
}

}  // namespace

int serve(const ServeOptions& options) {
  log::set_level(options.log_level);
  if (const Status status = check_names(options); !status.ok()) return report(status);
  auto server_settings = server_options(options);
  if (!server_settings.ok()) return report(server_settings.status());
  if (!is_loopback(options.host)) {
    log::warn(
        "listening on {}: everybody who can reach this machine can use the models, there is "
        "no key",
        options.host);
  }
  auto started = server::Server::start(*server_settings);
  if (!started.ok()) return report(started.status());
  server::Server& server = **started;
  server.stop_on_signals();

  // The server answers (503 "loading") while the models are read.
  std::atomic<bool> failed = false;
  std::thread loader([&] {
    const Status status = load_models(options, server);
    server.set_loading_done(status.ok(), status.ok() ? "" : status.message());
    if (status.ok()) {
      print_welcome(server, server.default_model_name());
      return;
    }
    failed = true;
    report(status);
    server.stop();
  });
  server.run();
  loader.join();
  return failed ? 1 : 0;
}

}  // namespace tutti::app
