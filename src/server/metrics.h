// What /metrics tells, in Prometheus' text format (version 0.0.4).
//
// Names are vLLM's where it has one, with the prefix "tutti_"; render() can add the same series
// under "vllm:", so that dashboards made for vLLM work.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/engine.h"

namespace tutti::server {

// Thread safety: every member may be called from any thread; relaxed atomics, no locks.
class Histogram {
 public:
  // `bounds`: upper bounds, inclusive, increasing; +Inf is added.
  explicit Histogram(std::span<const double> bounds);
  void observe(double value);

  const std::vector<double>& bounds() const { return bounds_; }
  // Of values <= bounds()[i]; i == bounds().size() counts all.
  std::uint64_t cumulative_count(std::size_t i) const;
  double sum() const { return sum_.load(std::memory_order_relaxed); }

 private:
  std::vector<double> bounds_;
  std::vector<std::atomic<std::uint64_t>> counts_;  // one for each bucket, +Inf last
  std::atomic<double> sum_{0};
};

// How a request ended.
enum class Outcome {
  kSucceeded,  // answered to its end
  kCancelled,  // the client went away
  kFailed,     // an error after it was accepted
  kRejected,   // never accepted: bad request, queue full
};
inline constexpr std::size_t kNumOutcomes = 4;

// What never changes of a model, for cache_config_info.
struct CacheConfig {
  std::string dtype;
  bool use_prefix_cache = false;
};

// What is counted for each model. Thread safety: as Histogram.
struct ModelMetrics {
  // `max_model_len` bounds the buckets of token counts.
  ModelMetrics(std::string model_name, int max_model_len, CacheConfig cache = {});

  void count_request(Outcome outcome) {
    requests[static_cast<std::size_t>(outcome)].fetch_add(1, std::memory_order_relaxed);
  }

  const std::string name;
  const CacheConfig cache_config;
  std::array<std::atomic<std::uint64_t>, kNumOutcomes> requests{};
  // Sequences that ended, by reason.
  std::atomic<std::uint64_t> finished_stop{0}, finished_length{0}, finished_abort{0};
  Histogram time_to_first_token, inter_token_latency, e2e_latency;
  Histogram time_per_output_token;
  Histogram queue_time, inference_time, prefill_time, decode_time;
  Histogram prompt_tokens, generation_tokens;
  Histogram params_n, params_max_tokens;  // of each request, as it asked
};

struct ModelSnapshot {
  const ModelMetrics* metrics;
  engine::EngineStats engine;
};

// One sample with no model of its own.
struct PlainSample {
  std::string name;  // without prefix
  std::string type;  // "gauge" | "counter"
  std::string help;
  double value = 0;
};

std::string render_metrics(std::span<const ModelSnapshot> models,
                           std::span<const PlainSample> samples, bool with_vllm_names);

}  // namespace tutti::server
