// Times every operation case of kernels/op_cases.h and sets it beside what the machine could do in
// the same moment: a read sweep for what is bound by memory, a multiply-add loop for the rest.
//
// bench_ops [--isa avx2] [--threads 2] [--only TEXT] [--json]
// --only keeps the cases whose line contains TEXT ("Q4_K", "llama-1b", "attention").
#include <fmt/format.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/thread_pool.h"
#include "device/machine_limits.h"
#include "device/ops.h"
#include "kernels/op_cases.h"
#include "kernels/testing/random_data.h"

namespace tutti {
namespace {

namespace json = boost::json;
using device::MatrixPtr;
using device::Ops;

struct Options {
  device::Isa isa = device::available_isas().back();
  int num_threads = 0;
  std::string only;
  bool as_json = false;
};

// What one call of an operation does.
struct Work {
  std::string name;
  double bytes = 0;  // that must come from memory
  double flops = 0;
};

struct Timing {
  Work work;
  double seconds = 0;     // median of a call
  double read_share = 0;  // of the sweep timed just before and after
  double fma_share = 0;   // of the AVX2 multiply-add loop
};

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

class Bench {
 public:
  explicit Bench(const Options& options) : options_(options) {
    ops_ = std::move(Ops::create({device::ComputeClass::kBf16, options.isa, options.num_threads}))
               .value();
    limits_ = device::measure_machine_limits(ops_->pool());
    sweep_.emplace(ops_->pool());
  }

  void run() {
    if (!options_.as_json) print_head();
    for (const auto& shape : kernels::kLinearCases) {
      // Smaller ones are timings of a barrier.
      if (static_cast<std::int64_t>(shape.num_outputs) * shape.num_inputs < 500000) continue;
      for (const DType dtype :
           {DType::kBF16, DType::kQ8_0, DType::kQ4_K, DType::kQ6_K, DType::kQ4_0}) {
        run_linear(shape, dtype);
      }
    }
    for (const auto& shape : kernels::kAttentionCases) run_attention(shape);
    run_elementwise();
    if (options_.as_json) print_json();
  }

 private:
  bool wanted(const std::string& name) const {
    return name.find(options_.only) != std::string::npos;
  }

  // Calls operation(i) with i = 0, 1, 2 ... for about 0.3 s.
  void time(const Work& work, const std::function<void(int)>& operation) {
    operation(0);
    std::vector<double> seconds, sweeps = {sweep_->gigabytes_per_second()};
    const TimePoint start = SteadyClock::now();
    for (int i = 0; i < 9 || to_seconds(SteadyClock::now() - start) < 0.3; ++i) {
      const TimePoint before = SteadyClock::now();
      operation(i + 1);
      seconds.push_back(to_seconds(SteadyClock::now() - before));
      if (to_seconds(SteadyClock::now() - start) > 5) break;
    }
    sweeps.push_back(sweep_->gigabytes_per_second());
    Timing timing{work, median(seconds)};
    timing.read_share = work.bytes / timing.seconds / 1e9 / median(sweeps);
    timing.fma_share = work.flops / timing.seconds / 1e9 / limits_.avx2_fma_gigaflops;
    timings_.push_back(timing);
    if (!options_.as_json) print_line(timing);
  }

  void run_linear(const kernels::LinearCase& shape, DType dtype) {
    if (shape.num_inputs % dtype_info(dtype).block_size != 0) return;
    const std::string label = fmt::format("linear {} {}", shape.name, to_string(dtype));
    const auto name = [&](int rows) { return fmt::format("{} M={}", label, rows); };
    if (std::none_of(std::begin(kernels::kRowCounts), std::end(kernels::kRowCounts),
                     [&](int rows) { return wanted(name(rows)); })) {
      return;
    }
    std::mt19937 random(1);
    const auto bytes = kernels::random_weights(dtype, shape.num_outputs, shape.num_inputs, random);
    const TensorView view{label, dtype, {shape.num_outputs, shape.num_inputs}, bytes};
    // Copies until no cache holds them all, so that each call reads memory as in a model.
    constexpr std::size_t kBeyondCaches = std::size_t{200} << 20;
    std::vector<std::vector<std::byte>> copies;
    std::vector<MatrixPtr> matrices;
    for (std::size_t total = 0; total < kBeyondCaches; total += bytes.size()) {
      TensorView copy = view;
      if (is_quantized(dtype)) {
        copies.push_back(bytes);
        copy.bytes = copies.back();
      }
      matrices.push_back(ops_->make_matrix(copy).value());
    }
    for (const int rows : kernels::kRowCounts) {
      if (!wanted(name(rows))) continue;
      const auto x =
          kernels::random_floats(static_cast<std::size_t>(rows) * shape.num_inputs, random);
      std::vector<float> y(static_cast<std::size_t>(rows) * shape.num_outputs);
      const double stored = dtype == DType::kBF16 ? ops_->owned_bytes(*matrices[0]) : bytes.size();
      time({name(rows), stored, 2.0 * rows * shape.num_outputs * shape.num_inputs},
           [&](int i) { ops_->linear(*matrices[i % matrices.size()], x.data(), rows, y.data()); });
    }
  }

  void run_attention(const kernels::AttentionCase& shape) {
    const std::string name = fmt::format("attention {}", shape.name);
    if (!wanted(name)) return;
    const device::KvShape kv{4, shape.num_kv_heads, shape.head_dim};
    const int length = shape.first_position + shape.num_rows;
    const int pages = (length + kBlockSize - 1) / kBlockSize;
    const int num_heads = shape.num_kv_heads * shape.group;
    auto cache = ops_->make_kv_cache(kv, pages * shape.num_sequences).value();
    std::vector<BlockId> blocks;
    for (int i = 0; i < pages * shape.num_sequences; ++i) blocks.emplace_back(i);
    std::mt19937 random(1);
    std::shuffle(blocks.begin(), blocks.end(), random);
    std::vector<SlotId> slots;
    for (const BlockId block : blocks) {
      for (int i = 0; i < kBlockSize; ++i) slots.emplace_back(block.value * kBlockSize + i);
    }
    const auto rows =
        kernels::random_floats(slots.size() * shape.num_kv_heads * shape.head_dim, random);
    for (int layer = 0; layer < kv.num_layers; ++layer) {
      ops_->store_kv(*cache, layer, rows.data(), rows.data(), slots);
    }
    std::vector<device::AttentionSequence> sequences;
    for (int i = 0; i < shape.num_sequences; ++i) {
      sequences.push_back({i * shape.num_rows, shape.num_rows, shape.first_position,
                           std::span(blocks).subspan(static_cast<std::size_t>(i) * pages, pages)});
    }
    const auto q = kernels::random_floats(
        static_cast<std::size_t>(shape.num_sequences) * shape.num_rows * num_heads * shape.head_dim,
        random);
    std::vector<float> out(q.size());
    double seen = 0, pairs = 0;  // positions read; (row, position) pairs
    for (int row = 0; row < shape.num_rows; ++row) {
      const int visible = shape.first_position + row + 1;
      seen = shape.sliding_window > 0 ? std::min(visible, shape.sliding_window) : visible;
      pairs += seen;
    }
    const double bytes = 4.0 * seen * shape.num_kv_heads * shape.head_dim * shape.num_sequences;
    const double flops = 4.0 * pairs * num_heads * shape.head_dim * shape.num_sequences;
    time({name, bytes, flops}, [&](int i) {
      ops_->attention(*cache,
                      {i % kv.num_layers, num_heads, 0.125f, shape.sliding_window, sequences},
                      q.data(), out.data());
    });
  }

  void run_elementwise() {
    std::mt19937 random(1);
    for (const int rows : {1, 512}) {
      const int width = 8192;
      auto x = kernels::random_floats(static_cast<std::size_t>(rows) * width, random);
      const auto weight = kernels::random_floats(width, random);
      std::vector<float> y(x.size());
      const double bytes = 8.0 * rows * width;
      const auto name = [&](const char* what) {
        return fmt::format("elementwise {} of {} M={}", what, width, rows);
      };
      if (wanted(name("rms_norm"))) {
        time({name("rms_norm"), bytes},
             [&](int) { ops_->rms_norm(x.data(), rows, width, weight, 1e-5f, y.data()); });
      }
      if (wanted(name("silu_mul"))) {
        time({name("silu_mul"), 1.5 * bytes},
             [&](int) { ops_->silu_mul(x.data(), x.data(), rows, width, y.data()); });
      }
      if (wanted(name("add_scaled"))) {
        time({name("add_scaled"), 1.5 * bytes},
             [&](int) { ops_->add_scaled(y.data(), x.data(), 0.5f, y.size()); });
      }
    }
  }

  void print_head() const {
    fmt::print(
        "isa {}, {} threads; read sweep {:.1f} GB/s; GFLOPS of multiply-add loops: AVX2 "
        "{:.0f}, AVX-512 {:.0f}, AVX512-BF16 {:.0f}, AMX {:.0f}\n",
        device::to_string(options_.isa), ops_->pool().num_threads(),
        limits_.read_gigabytes_per_second, limits_.avx2_fma_gigaflops, limits_.avx512_fma_gigaflops,
        limits_.avx512_bf16_dot_gigaflops, limits_.amx_bf16_gigaflops);
    fmt::print("{:<40} {:>10} {:>7} {:>9} {:>10} {:>10}\n", "", "us", "GB/s", "GFLOPS", "of sweep",
               "of FMA");
  }

  static void print_line(const Timing& timing) {
    fmt::print("{:<40} {:>10.1f} {:>7.1f} {:>9.1f} {:>9.0f}% {:>9.0f}%\n", timing.work.name,
               timing.seconds * 1e6, timing.work.bytes / timing.seconds / 1e9,
               timing.work.flops / timing.seconds / 1e9, 100 * timing.read_share,
               100 * timing.fma_share);
    std::fflush(stdout);
  }

  void print_json() const {
    json::array cases;
    for (const Timing& timing : timings_) {
      cases.push_back({{"name", timing.work.name},
                       {"microseconds", timing.seconds * 1e6},
                       {"gigabytes_per_second", timing.work.bytes / timing.seconds / 1e9},
                       {"gigaflops", timing.work.flops / timing.seconds / 1e9},
                       {"share_of_read_sweep", timing.read_share},
                       {"share_of_fma_loop", timing.fma_share}});
    }
    const json::object result{{"isa", device::to_string(options_.isa)},
                              {"threads", ops_->pool().num_threads()},
                              {"limits",
                               {{"read_gigabytes_per_second", limits_.read_gigabytes_per_second},
                                {"avx2_fma_gigaflops", limits_.avx2_fma_gigaflops},
                                {"avx512_fma_gigaflops", limits_.avx512_fma_gigaflops},
                                {"avx512_bf16_dot_gigaflops", limits_.avx512_bf16_dot_gigaflops},
                                {"amx_bf16_gigaflops", limits_.amx_bf16_gigaflops}}},
                              {"cases", std::move(cases)}};
    fmt::print("{}\n", json::serialize(result));
  }

  Options options_;
  std::unique_ptr<Ops> ops_;
  device::MachineLimits limits_;
  std::optional<device::ReadSweep> sweep_;
  std::vector<Timing> timings_;
};

int run(int count, char** words) {
  Options options;
  for (int i = 1; i < count; ++i) {
    const std::string word = words[i];
    const std::string value = i + 1 < count ? words[i + 1] : "";
    if (word == "--json") {
      options.as_json = true;
    } else if (word == "--isa" && device::parse_isa(value).ok()) {
      options.isa = device::parse_isa(value).value();
      ++i;
    } else if (word == "--threads" && std::atoi(value.c_str()) > 0) {
      options.num_threads = std::atoi(value.c_str());
      ++i;
    } else if (word == "--only" && !value.empty()) {
      options.only = value;
      ++i;
    } else {
      fmt::print(stderr,
                 "bench_ops [--isa ref|avx2|avx512|amx] [--threads N] [--only TEXT] "
                 "[--json]\n");
      return 2;
    }
  }
  Bench(options).run();
  return 0;
}

}  // namespace
}  // namespace tutti

int main(int count, char** words) { return tutti::run(count, words); }
