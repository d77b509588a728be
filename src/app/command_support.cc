#include <fmt/format.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <iostream>

#include "app/commands.h"
#include "app/settings.h"
#include "base/log.h"
#include "server/sampling_defaults.h"
#include "store/loaded_model.h"

namespace tutti::app {
namespace {

// A bar on a terminal's standard error, redrawn in place and wiped when done.
class ProgressBar {
 public:
  explicit ProgressBar(std::string label)
      : label_(std::move(label)), on_terminal_(::isatty(STDERR_FILENO) == 1) {}
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;
  ~ProgressBar() {
    if (drawn_percent_ >= 0) std::fputs("\r\x1b[K", stderr);
  }

  void draw(double fraction) {
    const int percent = static_cast<int>(std::clamp(fraction, 0.0, 1.0) * 100);
    if (!on_terminal_ || percent == drawn_percent_) return;
    drawn_percent_ = percent;
    constexpr int kWidth = 30;
    const int filled = percent * kWidth / 100;
    fmt::print(stderr, "\rLoading {} [{}{}] {:3}%", label_, std::string(filled, '#'),
               std::string(kWidth - filled, '.'), percent);
    std::fflush(stderr);
  }

 private:
  std::string label_;
  bool on_terminal_;
  int drawn_percent_ = -1;
};

Result<device::Isa> choose_isa(const std::string& word) {
  if (word == "auto") return device::available_isas().back();
  return device::parse_isa(word);
}

// The second tier of the prefix cache.
Status set_spill(const ModelOptions& options, store::LoadOptions& load) {
  load.spill_dir = options.kv_spill_dir;
  if (!load.spill_dir.empty() && options.no_prefix_cache) {
    return invalid_argument("kv-spill-dir",
                            "--kv-spill-dir needs the prefix cache, without --no-prefix-cache");
  }
  if (options.kv_spill_size == "auto") return {};
  if (load.spill_dir.empty()) {
    return invalid_argument("kv-spill-size", "--kv-spill-size needs --kv-spill-dir");
  }
  auto bytes = parse_byte_size(options.kv_spill_size);
  if (!bytes.ok()) return bytes.status().with_context("--kv-spill-size");
  constexpr std::uint64_t kLeast = 1 << 20;
  if (*bytes < kLeast) {
    return invalid_argument("kv-spill-size", "--kv-spill-size must be at least 1MiB");
  }
  load.spill_bytes = *bytes;
  return {};
}

}  // namespace

int report(const Status& status) {
  fmt::print(stderr, "error: {}\n", status.message());
  return 1;
}

Result<store::LoadOptions> make_load_options(const std::string& name, const ModelOptions& options) {
  store::LoadOptions load;
  load.model = name;
  if (!options.models_dir.empty()) load.ollama_root = options.models_dir;
  load.choose_compute_class = options.compute == "auto";
  if (!load.choose_compute_class) {
    TUTTI_ASSIGN_OR_RETURN(load.ops.compute_class, device::parse_compute_class(options.compute));
  }
  TUTTI_ASSIGN_OR_RETURN(load.ops.isa, choose_isa(options.isa));
  load.ops.num_threads = options.threads;
  load.repack_cache = options.repack_cache;
  TUTTI_ASSIGN_OR_RETURN(load.ops.kv_dtype, device::parse_kv_dtype(options.kv_cache_dtype));
  load.max_model_len = options.max_model_len;
  if (options.kv_cache_size != "auto") {
    auto bytes = parse_byte_size(options.kv_cache_size);
    if (!bytes.ok()) return bytes.status().with_context("--kv-cache-size");
    if (*bytes == 0) return invalid_argument("kv-cache-size", "--kv-cache-size must be over 0");
    load.kv_cache_bytes = *bytes;
  }
  if (std::isnan(options.memory_fraction)) {
    return invalid_argument("memory-fraction", "--memory-fraction must be in [0, 1]");
  }
  load.memory_fraction = options.memory_fraction;
  if (options.memory_limit != "auto") {
    auto bytes = parse_byte_size(options.memory_limit);
    if (!bytes.ok()) return bytes.status().with_context("--memory-limit");
    if (*bytes == 0) return invalid_argument("memory-limit", "--memory-limit must be over 0");
    load.memory_limit = *bytes;
  }
  load.token_budget = options.token_budget;
  load.max_running = options.max_running;
  if (options.target_itl != "auto") {
    load.target_itl = std::chrono::milliseconds(std::stoi(options.target_itl));
  }
  load.use_prefix_cache = !options.no_prefix_cache;
  TUTTI_RETURN_IF_ERROR(set_spill(options, load));
  return load;
}

Result<std::shared_ptr<store::LoadedModel>> load_with_progress(const store::LoadOptions& load,
                                                               const store::RemoteEngine* remote) {
  ProgressBar bar(load.model.empty() ? "demo" : load.model);
  const auto draw = [&bar](double fraction) { bar.draw(fraction); };
  TUTTI_ASSIGN_OR_RETURN(
      auto model, remote ? store::start_model(load, *remote, draw) : store::load_model(load, draw));
  for (const std::string& key : server::unused_parameters(model->ollama_parameters)) {
    log::warn("{}: the store's parameter {} is not used", model->info.name, key);
  }
  return model;
}

Result<std::string> read_standard_input(std::size_t max_bytes) {
  std::string text;
  char buffer[1 << 16];
  while (const std::size_t got = std::fread(buffer, 1, sizeof buffer, stdin)) {
    text.append(buffer, got);
    if (text.size() > max_bytes) {
      return Status(ErrorKind::kTooLarge,
                    fmt::format("standard input is over the limit of {} bytes", max_bytes));
    }
  }
  return text;
}

}  // namespace tutti::app
