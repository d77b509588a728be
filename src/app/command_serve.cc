#include <fmt/format.h>
#include <unistd.h>

#include <atomic>
#include <boost/asio/ip/address.hpp>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <set>
#include <thread>

#include "app/commands.h"
#include "app/memory_ledger.h"
#include "app/serve_settings.h"
#include "app/settings.h"
#include "base/json.h"
#include "base/log.h"
#include "dialects/ollama.h"
#include "server/server.h"
#include "store/loaded_model.h"
#include "store/plan_model.h"

namespace tutti::app {
namespace {

namespace fs = std::filesystem;

bool is_loopback(const std::string& host) {
  if (host == "localhost") return true;
  boost::system::error_code error;
  const auto address = boost::asio::ip::make_address(host, error);
  return !error && address.is_loopback();
}

std::vector<std::string> models_of(const ServeOptions& options) {
  return options.models.empty() ? std::vector<std::string>{""} : options.models;
}

Status check_names(const ServeOptions& options) {
  const std::size_t num_models = models_of(options).size();
  const auto& names = options.served_model_names;
  if (!names.empty() && names.size() != num_models) {
    return invalid_argument(
        "served-model-name",
        fmt::format("--served-model-name: {} names for {} models", names.size(), num_models));
  }
  return {};
}

// The name of each model, as clients write it. Errors: of resolve_model; kInvalidArgument when two
// models have the same name.
Result<std::vector<std::string>> served_names(const ServeOptions& options) {
  std::vector<std::string> names = options.served_model_names;
  if (names.empty()) {
    const fs::path root = options.model.models_dir.empty() ? store::default_ollama_root()
                                                           : fs::path(options.model.models_dir);
    for (const std::string& model : models_of(options)) {
      TUTTI_ASSIGN_OR_RETURN(const store::ModelLocation location,
                             store::resolve_model(model, root));
      names.push_back(location.name);
    }
  }
  std::set<std::string> seen;
  for (const std::string& name : names) {
    if (seen.insert(dialects::ollama::canonical_name(name)).second) continue;
    return invalid_argument(
        "served-model-name",
        fmt::format("two models are named {}; give each a name of its own with --served-model-name",
                    name));
  }
  return names;
}

Result<MemoryLedger> new_ledger(const ServeOptions& options) {
  TUTTI_ASSIGN_OR_RETURN(const std::uint64_t bodies, parse_byte_size(options.max_body_memory));
  return MemoryLedger(bodies);
}

// At the start: a table for people, a line of the log for programs.
void show_plan(const ServeOptions& options, const std::string& model,
               const store::MemoryPlan& plan) {
  if (options.log_format == "json") {
    log::event("memory plan", store::plan_json(model, plan));
  } else {
    fmt::print(stderr, "{}", store::plan_table(model, plan));
  }
}

// Prints the plan of every model, none of which is loaded. Errors: kInvalidArgument with the
// numbers for the first that does not fit.
Status print_plans(const ServeOptions& options) {
  const std::vector<std::string> models = models_of(options);
  TUTTI_ASSIGN_OR_RETURN(const std::vector<std::string> names, served_names(options));
  TUTTI_ASSIGN_OR_RETURN(MemoryLedger ledger, new_ledger(options));
  boost::json::array plans;
  for (std::size_t i = 0; i < models.size(); ++i) {
    TUTTI_ASSIGN_OR_RETURN(auto load, make_load_options(models[i], options.model));
    ledger.apply(load);
    auto plan = store::plan_model(load);
    if (!plan.ok()) return plan.status().with_context(names[i]);
    ledger.count(*plan, plan->weights + plan->scratch + plan->spill + plan->kv_cache());
    plans.push_back(store::plan_json(names[i], *plan));
    if (options.plan == "table") fmt::print("{}", store::plan_table(names[i], *plan));
  }
  if (options.plan == "json") {
    fmt::print("{}\n", write_json(boost::json::object{{"models", std::move(plans)}}));
  }
  return {};
}

// $STATE_DIRECTORY is systemd's, the others the XDG Base Directory Specification's.
fs::path crash_dir(const ServeOptions& options) {
  if (!options.crash_dir.empty()) return options.crash_dir;
  if (const auto folder = environment_value("STATE_DIRECTORY")) return *folder;
  if (const auto folder = environment_value("XDG_STATE_HOME")) {
    return fs::path(*folder) / "tutti";
  }
  if (const auto home = environment_value("HOME")) {
    return fs::path(*home) / ".local/state/tutti";
  }
  return {};
}

// `tutti engine MODEL …` with the flags that serve was given. `core_group`: see place_group().
store::RemoteEngine remote_engine(const ServeOptions& options, int core_group) {
  const auto arguments = [flags = options.engine_flags,
                          core_group](const store::LoadOptions& load) mutable {
    flags["max-model-len"] = std::to_string(load.max_model_len);
    if (load.kv_cache_bytes > 0) flags["kv-cache-size"] = std::to_string(load.kv_cache_bytes);
    if (load.memory_limit > 0) flags["memory-limit"] = std::to_string(load.memory_limit);
    flags["promised-bytes"] = std::to_string(load.promised_bytes);
    flags["front-pid"] = std::to_string(::getpid());
    flags["core-group"] = std::to_string(core_group);
    std::vector<std::string> line = {"tutti", "engine", load.model.empty() ? "demo" : load.model};
    for (const auto& [name, value] : flags) line.push_back(fmt::format("--{}={}", name, value));
    return line;
  };
  return {.arguments = arguments, .crash_dir = crash_dir(options)};
}

// Loads every model and hands it to the server. The first error stops the loading.
Status load_models(const ServeOptions& options, server::Server& server) {
  const std::vector<std::string> models = models_of(options);
  TUTTI_ASSIGN_OR_RETURN(const std::vector<std::string> names, served_names(options));
  TUTTI_ASSIGN_OR_RETURN(MemoryLedger ledger, new_ledger(options));
  for (std::size_t i = 0; i < models.size(); ++i) {
    TUTTI_ASSIGN_OR_RETURN(auto load, make_load_options(models[i], options.model));
    load.max_waiting = options.max_waiting;
    ledger.apply(load);
    const int core_group = models.size() > 1 ? static_cast<int>(i) : -1;
    const store::RemoteEngine remote = remote_engine(options, core_group);
    TUTTI_ASSIGN_OR_RETURN(auto model, load_with_progress(load, &remote));
    ledger.count(model->facts.plan, model->facts.promised_bytes);
    model->info.name = names[i];
    const store::MemoryPlan& plan = model->facts.plan;
    show_plan(options, model->info.name, plan);
    log::info(
        "{}: {} {} {}, context {}, {} blocks of {} positions ({:.1f} MiB), loaded in {:.2f} s",
        model->info.name, model->info.family, model->info.parameter_size,
        model->info.quantization_level, plan.max_model_len, plan.num_blocks, kBlockSize,
        static_cast<double>(plan.kv_cache()) / (1 << 20), to_seconds(model->load_duration));
    log::info("{}: compute {}, instruction set {}, {} threads", model->info.name,
              model->facts.compute_class, model->facts.isa, model->facts.num_threads);
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
  apply_log_settings(options);
  if (const Status status = check_names(options); !status.ok()) return report(status);
  auto server_settings = server_options(options);
  if (!server_settings.ok()) return report(server_settings.status());
  server_settings->service_manager = server::ServiceManager::from_environment();
  server_settings->inherited_sockets = server::inherited_sockets();
  if (!options.plan.empty()) {
    const Status status = print_plans(options);
    return status.ok() ? 0 : report(status);
  }
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
  ServeOptions current = options;
  server.on_hangup([&] { reload_settings(server, current); });

  // The server answers (503 "loading") while the models are read.
  enum class Loading { kRuns, kDone, kFailed };
  std::atomic<Loading> loading = Loading::kRuns;
  std::thread loader([&] {
    const Status status = load_models(options, server);
    loading = status.ok() ? Loading::kDone : Loading::kFailed;
    if (status.ok()) {
      server.set_loaded([&server] { print_welcome(server, server.default_model_name()); });
    } else {
      server.set_loading_failed(status.message());
      report(status);
      server.stop();
    }
  });
  server.run();
  if (loading == Loading::kRuns) {
    // Reading weights cannot be cut short, and nobody waits for them any more.
    log::info("stopped while the models were loading");
    std::_Exit(0);
  }
  loader.join();
  return loading == Loading::kFailed ? 1 : 0;
}

}  // namespace tutti::app
