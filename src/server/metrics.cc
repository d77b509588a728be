#include "server/metrics.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

namespace tutti::server {
namespace {

constexpr double kFirstTokenBounds[] = {.001, .005, .01, .02, .04, .06, .08, .1, .25, .5,  .75,
                                        1,    2.5,  5,   7.5, 10,  20,  40,  80, 160, 640, 2560};
constexpr double kInterTokenBounds[] = {.001, .0025, .005, .01, .025, .05, .075, .1, .15, .2, .3,
                                        .4,   .5,    .75,  1,   2.5,  5,   7.5,  10, 20,  40, 80};
constexpr double kLatencyBounds[] = {.3, .5, .8, 1,  1.5, 2,   2.5, 5,   10,   15,  20,
                                     30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680};

constexpr double kParamsNBounds[] = {1, 2, 5, 10, 20};

// 1, 2, 5, 10, 20, 50 … up to `limit`, as vLLM counts tokens.
std::vector<double> token_bounds(int limit) {
  std::vector<double> bounds;
  for (double decade = 1; decade <= limit; decade *= 10) {
    for (const double digit : {1.0, 2.0, 5.0}) {
      if (digit * decade <= limit) bounds.push_back(digit * decade);
    }
  }
  if (bounds.empty()) bounds.push_back(1);
  return bounds;
}

std::string escape_label(std::string_view text) {
  std::string escaped;
  for (const char c : text) {
    if (c == '\\' || c == '"') escaped += '\\';
    if (c == '\n') {
      escaped += "\\n";
    } else {
      escaped += c;
    }
  }
  return escaped;
}

std::string format_number(double value) {
  if (value == static_cast<double>(static_cast<std::int64_t>(value)) && std::abs(value) < 1e15) {
    return fmt::format("{}", static_cast<std::int64_t>(value));
  }
  return fmt::format("{}", value);
}

// A value for each model, read from its snapshot.
struct ScalarRow {
  const char* name;
  const char* type;
  const char* help;
  double (*value)(const ModelSnapshot&);
  const char* label = "";  // further labels, with a leading comma
};

double used_share(const ModelSnapshot& model) {
  if (model.engine.num_blocks == 0) return 0;
  return static_cast<double>(model.engine.num_used_blocks) / model.engine.num_blocks;
}

template <Outcome outcome>
double requests_of(const ModelSnapshot& model) {
  return static_cast<double>(model.metrics->requests[static_cast<std::size_t>(outcome)].load());
}

// Rows of one name stand together: the format wants a family's samples in one group.
const ScalarRow kScalarRows[] = {
    {"num_requests_running", "gauge", "Sequences in the running batch.",
     [](const ModelSnapshot& m) { return static_cast<double>(m.engine.num_running); }},
    {"num_requests_waiting", "gauge", "Sequences that wait for the batch.",
     [](const ModelSnapshot& m) { return static_cast<double>(m.engine.num_waiting); }},
    {"kv_cache_usage_perc", "gauge", "Share of the KV cache in use; 1 means all.", used_share},
    {"kv_cache_blocks", "gauge", "Blocks of the KV cache.",
     [](const ModelSnapshot& m) { return static_cast<double>(m.engine.num_blocks); }},
    {"kv_cache_used_blocks", "gauge", "Blocks of the KV cache in use.",
     [](const ModelSnapshot& m) { return static_cast<double>(m.engine.num_used_blocks); }},
    {"engine_steps_total", "counter", "Forward passes.",
     [](const ModelSnapshot& m) { return static_cast<double>(m.engine.num_steps); }},
    {"num_preemptions_total", "counter", "Sequences that lost their blocks and began again.",
     [](const ModelSnapshot& m) { return static_cast<double>(m.engine.num_preemptions); }},
    {"recomputed_tokens_total", "counter", "Tokens computed again after a preemption.",
     [](const ModelSnapshot& m) { return static_cast<double>(m.engine.num_recomputed_tokens); }},
    {"engine_restarts_total", "counter", "Engine processes that were replaced after they died.",
     [](const ModelSnapshot& m) { return static_cast<double>(m.engine.num_restarts); }},
    {"prompt_tokens_total", "counter", "Prompt tokens computed.",
     [](const ModelSnapshot& m) { return static_cast<double>(m.engine.num_prompt_tokens); }},
    {"generation_tokens_total", "counter", "Tokens generated.",
     [](const ModelSnapshot& m) { return static_cast<double>(m.engine.num_generation_tokens); }},
    {"prefix_cache_queries_total", "counter", "Prompt tokens looked up in the prefix cache.",
     [](const ModelSnapshot& m) { return static_cast<double>(m.engine.num_prefix_queries); }},
    {"prefix_cache_hits_total", "counter", "Prompt tokens found in the prefix cache.",
     [](const ModelSnapshot& m) { return static_cast<double>(m.engine.num_prefix_hits); }},
    {"kv_spill_blocks", "gauge", "Blocks that the prefix cache's second tier holds.",
     [](const ModelSnapshot& m) { return static_cast<double>(m.engine.num_spill_blocks); }},
    {"kv_spill_read_blocks_total", "counter", "Blocks that came back from the second tier.",
     [](const ModelSnapshot& m) { return static_cast<double>(m.engine.num_spill_reads); }},
    {"kv_spill_written_blocks_total", "counter", "Blocks written to the second tier.",
     [](const ModelSnapshot& m) { return static_cast<double>(m.engine.num_spill_writes); }},
    {"kv_spill_written_bytes_total", "counter", "Bytes of these blocks.",
     [](const ModelSnapshot& m) { return static_cast<double>(m.engine.num_spill_bytes); }},
    {"kv_spill_evictions_total", "counter", "Blocks that gave their place in the tier to others.",
     [](const ModelSnapshot& m) { return static_cast<double>(m.engine.num_spill_evictions); }},
    {"kv_spill_checksum_failures_total", "counter", "Blocks of the tier found damaged.",
     [](const ModelSnapshot& m) { return static_cast<double>(m.engine.num_spill_damages); }},
    {"kv_cache_cached_blocks", "gauge", "Blocks that nobody uses, kept for the prefix cache.",
     [](const ModelSnapshot& m) { return static_cast<double>(m.engine.num_cached_blocks); }},
    {"request_success_total", "counter", "Sequences that ended, by reason.",
     [](const ModelSnapshot& m) { return static_cast<double>(m.metrics->finished_stop); },
     ",finished_reason=\"stop\""},
    {"request_success_total", "counter", "",
     [](const ModelSnapshot& m) { return static_cast<double>(m.metrics->finished_length); },
     ",finished_reason=\"length\""},
    {"request_success_total", "counter", "",
     [](const ModelSnapshot& m) { return static_cast<double>(m.metrics->finished_abort); },
     ",finished_reason=\"abort\""},
    {"requests_total", "counter", "Requests by outcome.", requests_of<Outcome::kSucceeded>,
     ",outcome=\"success\""},
    {"requests_total", "counter", "", requests_of<Outcome::kCancelled>, ",outcome=\"cancelled\""},
    {"requests_total", "counter", "", requests_of<Outcome::kFailed>, ",outcome=\"error\""},
    {"requests_total", "counter", "", requests_of<Outcome::kRejected>, ",outcome=\"rejected\""},
};

struct HistogramRow {
  const char* name;
  const char* help;
  Histogram ModelMetrics::*histogram;
};

const HistogramRow kHistogramRows[] = {
    {"time_to_first_token_seconds", "From submission to the first token.",
     &ModelMetrics::time_to_first_token},
    {"inter_token_latency_seconds", "Between a token and the next one of its sequence.",
     &ModelMetrics::inter_token_latency},
    {"e2e_request_latency_seconds", "From submission to a sequence's end.",
     &ModelMetrics::e2e_latency},
    {"request_time_per_output_token_seconds",
     "Mean time of a sequence's tokens after the first; sequences of one token are left out.",
     &ModelMetrics::time_per_output_token},
    {"request_queue_time_seconds", "From submission to the first step.", &ModelMetrics::queue_time},
    {"request_inference_time_seconds", "From the first step to the end.",
     &ModelMetrics::inference_time},
    {"request_prefill_time_seconds", "From the first step to the first token.",
     &ModelMetrics::prefill_time},
    {"request_decode_time_seconds", "From the first token to the end.", &ModelMetrics::decode_time},
    {"request_prompt_tokens", "Prompt tokens of a sequence.", &ModelMetrics::prompt_tokens},
    {"request_generation_tokens", "Generated tokens of a sequence.",
     &ModelMetrics::generation_tokens},
    {"request_params_n", "`n` of a request.", &ModelMetrics::params_n},
    {"request_params_max_tokens", "The most new tokens that a prompt's answer may have.",
     &ModelMetrics::params_max_tokens},
};

void append_head(std::string& out, const std::string& name, const char* type, const char* help) {
  if (*help) out += fmt::format("# HELP {} {}\n# TYPE {} {}\n", name, help, name, type);
}

void append_histogram(std::string& out, const std::string& name, const ModelMetrics& model,
                      const Histogram& histogram) {
  const std::string label = escape_label(model.name);
  const std::size_t num_bounds = histogram.bounds().size();
  for (std::size_t i = 0; i <= num_bounds; ++i) {
    const std::string bound = i < num_bounds ? format_number(histogram.bounds()[i]) : "+Inf";
    out += fmt::format("{}_bucket{{model_name=\"{}\",le=\"{}\"}} {}\n", name, label, bound,
                       histogram.cumulative_count(i));
  }
  out +=
      fmt::format("{0}_sum{{model_name=\"{1}\"}} {2}\n{0}_count{{model_name=\"{1}\"}} {3}\n", name,
                  label, format_number(histogram.sum()), histogram.cumulative_count(num_bounds));
}

void append_rows_of_steps(std::string& out, const std::string& name, const ModelSnapshot& model) {
  const engine::RowsOfSteps& rows = model.engine.rows_of_steps;
  const std::string label = escape_label(model.metrics->name);
  std::uint64_t count = 0;
  for (std::size_t i = 0; i < rows.counts.size(); ++i) {
    count += rows.counts[i];
    const bool is_last = i == rows.kBounds.size();
    out += fmt::format("{}_bucket{{model_name=\"{}\",le=\"{}\"}} {}\n", name, label,
                       is_last ? "+Inf" : std::to_string(rows.kBounds[i]), count);
  }
  out += fmt::format("{0}_sum{{model_name=\"{1}\"}} {2}\n{0}_count{{model_name=\"{1}\"}} {3}\n",
                     name, label, rows.sum, count);
}

// A constant 1, whose labels tell the sizes: vLLM's dashboards multiply them.
void append_cache_config(std::string& out, const std::string& name, const ModelSnapshot& model) {
  const CacheConfig& cache = model.metrics->cache_config;
  out += fmt::format(
      "{}{{model_name=\"{}\",block_size=\"{}\",cache_dtype=\"{}\",enable_prefix_caching=\"{}\","
      "num_gpu_blocks=\"{}\",num_cpu_blocks=\"0\"}} 1\n",
      name, escape_label(model.metrics->name), kBlockSize, escape_label(cache.dtype),
      cache.use_prefix_cache ? "True" : "False", model.engine.num_blocks);
}

void append_models(std::string& out, const std::string& prefix,
                   std::span<const ModelSnapshot> models) {
  if (models.empty()) return;
  for (const ScalarRow& row : kScalarRows) {
    append_head(out, prefix + row.name, row.type, row.help);
    for (const ModelSnapshot& model : models) {
      out += fmt::format("{}{}{{model_name=\"{}\"{}}} {}\n", prefix, row.name,
                         escape_label(model.metrics->name), row.label,
                         format_number(row.value(model)));
    }
  }
  for (const HistogramRow& row : kHistogramRows) {
    append_head(out, prefix + row.name, "histogram", row.help);
    for (const ModelSnapshot& model : models) {
      append_histogram(out, prefix + row.name, *model.metrics, model.metrics->*row.histogram);
    }
  }
  const std::string rows_of_steps = prefix + "iteration_tokens_total";
  append_head(out, rows_of_steps, "histogram", "Token rows of a forward pass.");
  for (const ModelSnapshot& model : models) append_rows_of_steps(out, rows_of_steps, model);
  const std::string cache_config = prefix + "cache_config_info";
  append_head(out, cache_config, "gauge", "The KV cache; num_gpu_blocks is where the model is.");
  for (const ModelSnapshot& model : models) append_cache_config(out, cache_config, model);
}

}  // namespace

Histogram::Histogram(std::span<const double> bounds)
    : bounds_(bounds.begin(), bounds.end()), counts_(bounds.size() + 1) {}

void Histogram::observe(double value) {
  const auto bucket = std::lower_bound(bounds_.begin(), bounds_.end(), value) - bounds_.begin();
  counts_[static_cast<std::size_t>(bucket)].fetch_add(1, std::memory_order_relaxed);
  sum_.fetch_add(value, std::memory_order_relaxed);
}

std::uint64_t Histogram::cumulative_count(std::size_t i) const {
  std::uint64_t count = 0;
  for (std::size_t bucket = 0; bucket <= i; ++bucket) {
    count += counts_[bucket].load(std::memory_order_relaxed);
  }
  return count;
}

ModelMetrics::ModelMetrics(std::string model_name, int max_model_len, CacheConfig cache)
    : name(std::move(model_name)),
      cache_config(std::move(cache)),
      time_to_first_token(kFirstTokenBounds),
      inter_token_latency(kInterTokenBounds),
      e2e_latency(kLatencyBounds),
      time_per_output_token(kInterTokenBounds),
      queue_time(kLatencyBounds),
      inference_time(kLatencyBounds),
      prefill_time(kLatencyBounds),
      decode_time(kLatencyBounds),
      prompt_tokens(token_bounds(max_model_len)),
      generation_tokens(token_bounds(max_model_len)),
      params_n(kParamsNBounds),
      params_max_tokens(token_bounds(max_model_len)) {}

std::string render_metrics(std::span<const ModelSnapshot> models,
                           std::span<const PlainSample> samples, bool with_vllm_names) {
  std::string out;
  for (const PlainSample& sample : samples) {
    const std::string name = "tutti_" + sample.name;
    append_head(out, name, sample.type.c_str(), sample.help.c_str());
    out += fmt::format("{} {}\n", name, format_number(sample.value));
  }
  append_models(out, "tutti_", models);
  if (with_vllm_names) append_models(out, "vllm:", models);
  return out;
}

}  // namespace tutti::server
