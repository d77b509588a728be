// `tutti bench`: the engine alone, without HTTP, beside what the machine could do in the same run.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cmath>
#include <condition_variable>
#include <cstdio>
#include <iostream>
#include <memory>
#include <mutex>

#include "app/commands.h"
#include "base/json.h"
#include "base/thread_pool.h"
#include "core/event.h"
#include "device/machine_limits.h"
#include "model/description.h"
#include "model/model.h"
#include "store/loaded_model.h"

namespace tutti::app {
namespace {

namespace json = boost::json;

// When each sequence of a run got its tokens.
class Stopwatch {
 public:
  struct Times {
    std::vector<TimePoint> tokens;
    Status status;
  };

  explicit Stopwatch(int num_sequences) : times_(num_sequences) {}

  void receive(int sequence, const Event& event) {
    const std::lock_guard lock(mutex_);
    Times& times = times_[sequence];
    if (std::holds_alternative<TokenEvent>(event)) {
      times.tokens.push_back(SteadyClock::now());
      return;
    }
    if (const auto* failed = std::get_if<FailedEvent>(&event)) times.status = failed->status;
    if (++num_ended_ == static_cast<int>(times_.size())) all_ended_.notify_all();
  }

  const std::vector<Times>& wait() {
    std::unique_lock lock(mutex_);
    all_ended_.wait(lock, [this] { return num_ended_ == static_cast<int>(times_.size()); });
    return times_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable all_ended_;
  std::vector<Times> times_;
  int num_ended_ = 0;
};

struct Receiver : EventReceiver {
  Receiver(std::shared_ptr<Stopwatch> watch, int index)
      : stopwatch(std::move(watch)), sequence(index) {}
  void receive(Event event) override { stopwatch->receive(sequence, event); }
  std::shared_ptr<Stopwatch> stopwatch;
  int sequence;
};

class Bench {
 public:
  Bench(store::LoadedModel& model) : model_(model) {}

  // Runs `batch` sequences together and returns their times.
  Result<std::vector<Stopwatch::Times>> run(int batch, int prompt, int generate) {
    auto stopwatch = std::make_shared<Stopwatch>(batch);
    for (int i = 0; i < batch; ++i) {
      SequenceRequest request;
      request.id = SequenceId(next_id_++);
      request.prompt = random_prompt(prompt);
      request.sampling.temperature = 0;
      request.sampling.max_tokens = generate;
      request.sampling.ignore_eos = true;
      EventSink sink(std::make_shared<Receiver>(stopwatch, i));
      TUTTI_RETURN_IF_ERROR(model_.engine->submit(std::move(request), sink));
    }
    const std::vector<Stopwatch::Times>& times = stopwatch->wait();
    for (const Stopwatch::Times& sequence : times) TUTTI_RETURN_IF_ERROR(sequence.status);
    return times;
  }

  // Seconds until the first token of a prompt; the best of `repetitions`.
  Result<double> prefill_seconds(int prompt, int repetitions) {
    double best = 0;
    for (int i = 0; i < repetitions; ++i) {
      const TimePoint begin = SteadyClock::now();
      TUTTI_ASSIGN_OR_RETURN(const auto times, run(1, prompt, 1));
      const double seconds = to_seconds(times.front().tokens.front() - begin);
      if (i == 0 || seconds < best) best = seconds;
    }
    return best;
  }

  // Tokens per second while all of `batch` sequences decode: from the moment the last of them had
  // its first token to the moment the first had its last. The prompts are short, so that the
  // weights dominate.
  Result<double> decode_tokens_per_second(int batch, int generate) {
    constexpr int kShortPrompt = 8;
    TUTTI_ASSIGN_OR_RETURN(const auto times, run(batch, kShortPrompt, generate + 1));
    TimePoint begin = times.front().tokens.front();
    TimePoint end = times.front().tokens.back();
    for (const Stopwatch::Times& sequence : times) {
      begin = std::max(begin, sequence.tokens.front());
      end = std::min(end, sequence.tokens.back());
    }
    std::int64_t num_tokens = 0;
    for (const Stopwatch::Times& sequence : times) {
      num_tokens += std::count_if(sequence.tokens.begin(), sequence.tokens.end(),
                                  [&](TimePoint t) { return t > begin && t <= end; });
    }
    return static_cast<double>(num_tokens) / to_seconds(end - begin);
  }

 private:
  std::vector<TokenId> random_prompt(int length) {
    std::vector<TokenId> tokens(length);
    for (TokenId& token : tokens) {
      state_ = state_ * 6364136223846793005u + 1442695040888963407u;
      token = static_cast<TokenId>((state_ >> 33) % static_cast<unsigned>(model_.vocab_size));
    }
    return tokens;
  }

  store::LoadedModel& model_;
  std::uint64_t next_id_ = 1;
  std::uint64_t state_ = 1;
};

// Weights that every row is multiplied with: the layers', and the output layer's for rows sampled.
struct WeightCounts {
  double layers = 0;
  double output = 0;
  double bytes_per_weight = 0;

  double decode_bytes() const { return (layers + output) * bytes_per_weight; }
};

WeightCounts count_weights(const store::LoadedModel& model) {
  const model::ModelDescription& d = model.model->description();
  const double q = double(d.num_heads) * d.head_dim;
  const double kv = double(d.num_kv_heads) * d.head_dim;
  WeightCounts counts;
  counts.layers = d.num_layers * (d.hidden_size * (q + 2 * kv) + q * d.hidden_size +
                                  3.0 * d.hidden_size * d.intermediate_size);
  counts.output = double(d.vocab_size) * d.hidden_size;
  const double embedding = d.tied_embeddings ? 0 : counts.output;
  const double bytes =
      static_cast<double>(model.model->owned_bytes() + model.model->mapped_bytes());
  counts.bytes_per_weight = bytes / (counts.layers + counts.output + embedding);
  return counts;
}

double share(double part, double whole) { return whole > 0 ? part / whole : 0; }

// What most products of the model multiply.
device::Factors factors_of(const store::LoadedModel& model) {
  const device::ComputeClass compute_class = model.ops->compute_class();
  const bool bytes =
      compute_class == device::ComputeClass::kInt8 || compute_class == device::ComputeClass::kQ8;
  return bytes ? device::Factors::kBytes : device::Factors::kFloats;
}

json::object limits_as_json(const device::MachineLimits& limits) {
  json::object object{{"read_gigabytes_per_second", limits.read_gigabytes_per_second}};
  for (int i = 0; i < device::kNumMultiplyLoops; ++i) {
    const auto loop = static_cast<device::MultiplyLoop>(i);
    object[device::json_name(loop)] = limits.gigaops(loop);
  }
  return object;
}

json::object describe(const BenchOptions& options, const store::LoadedModel& model) {
  return {{"model", model.info.name},
          {"compute", device::to_string(model.ops->compute_class())},
          {"isa", device::to_string(model.ops->isa())},
          {"threads", model.ops->pool().num_threads()},
          {"prompt", options.prompt},
          {"generate", options.generate}};
}

Result<json::object> measure(const BenchOptions& options) {
  device::MachineLimits limits;
  {
    ThreadPool pool(options.model.threads);
    limits = device::measure_machine_limits(pool);
  }
  const int largest = *std::max_element(options.batch.begin(), options.batch.end());
  ModelOptions model_options = options.model;
  model_options.max_running = std::max(model_options.max_running, largest);
  TUTTI_ASSIGN_OR_RETURN(auto load, make_load_options(options.name, model_options));
  load.max_waiting = std::max(load.max_waiting, largest);
  // Every prompt is computed, in steps as large as the budget.
  load.use_prefix_cache = false;
  load.target_itl = Duration::zero();
  TUTTI_ASSIGN_OR_RETURN(auto model, load_with_progress(load));

  Bench bench(*model);
  const WeightCounts weights = count_weights(*model);
  const auto loop = device::fastest_loop(model->ops->isa(), factors_of(*model));
  const double loop_gigaops = loop ? limits.gigaops(*loop) : 0;
  json::object result = describe(options, *model);
  TUTTI_ASSIGN_OR_RETURN(const double warm_up, bench.prefill_seconds(options.prompt, 1));
  (void)warm_up;
  TUTTI_ASSIGN_OR_RETURN(const double prefill, bench.prefill_seconds(options.prompt, 3));
  const double flops = 2 * (weights.layers * options.prompt + weights.output);
  const double gigaflops = flops / prefill / 1e9;
  result["prefill_tokens_per_second"] = options.prompt / prefill;
  result["prefill_gigaflops"] = gigaflops;
  result["prefill_share_of_multiply_loop"] = share(gigaflops, loop_gigaops);
  json::array decode;
  for (const int batch : options.batch) {
    TUTTI_ASSIGN_OR_RETURN(const double rate,
                           bench.decode_tokens_per_second(batch, options.generate));
    const double gigabytes = weights.decode_bytes() * rate / batch / 1e9;
    decode.push_back({{"batch", batch},
                      {"decode_tokens_per_second", rate},
                      {"tokens_per_second_per_stream", rate / batch},
                      {"weight_gigabytes_per_second", gigabytes},
                      {"share_of_read_sweep", share(gigabytes, limits.read_gigabytes_per_second)}});
  }
  result["decode"] = std::move(decode);
  result["limits"] = limits_as_json(limits);
  result["multiply_loop"] = loop ? device::to_string(*loop) : "none";
  result["multiply_loop_gigaops"] = loop_gigaops;
  return result;
}

void print_bar(const std::string& label, const std::string& figure, double filled_share) {
  constexpr int kWidth = 30;
  const int filled = static_cast<int>(std::lround(std::clamp(filled_share, 0.0, 1.0) * kWidth));
  std::string bar;
  for (int i = 0; i < kWidth; ++i) bar += i < filled ? "█" : "░";
  fmt::print("{:<14} {:>18}   {} {:3.0f}%\n", label, figure, bar, filled_share * 100);
}

void print_table(const json::object& result) {
  fmt::print("{}  compute {}, {}, {} threads\n", result.at("model").as_string().c_str(),
             result.at("compute").as_string().c_str(), result.at("isa").as_string().c_str(),
             result.at("threads").as_int64());
  fmt::print("this machine, now: read sweep {:.1f} GB/s, multiply loop ({}) {:.0f} GOPS\n\n",
             result.at("limits").at("read_gigabytes_per_second").as_double(),
             result.at("multiply_loop").as_string().c_str(),
             result.at("multiply_loop_gigaops").as_double());
  print_bar(fmt::format("prefill {}", result.at("prompt").as_int64()),
            fmt::format("{:.1f} tok/s", result.at("prefill_tokens_per_second").as_double()),
            result.at("prefill_share_of_multiply_loop").as_double());
  for (const json::value& row : result.at("decode").as_array()) {
    print_bar(fmt::format("decode × {}", row.at("batch").as_int64()),
              fmt::format("{:.1f} tok/s", row.at("decode_tokens_per_second").as_double()),
              row.at("share_of_read_sweep").as_double());
  }
  fmt::print(
      "\nThe bars: prefill as a share of the multiply loop, decode as a share of the read "
      "sweep.\n");
}

}  // namespace

int bench(const BenchOptions& options) {
  auto result = measure(options);
  if (!result.ok()) return report(result.status());
  if (options.json) {
    std::cout << write_json(*result) << "\n";
  } else {
    print_table(*result);
  }
  return 0;
}

}  // namespace tutti::app
