// Times every operation case of kernels/op_cases.h and sets it beside what the machine could do in
// the same moment: a read sweep, and the fastest multiply loop of the instruction set for what the
// layer multiplies (floats, or bytes in the integer classes).
//
// bench_ops [--compute bf16] [--isa avx2] [--threads 2] [--only TEXT] [--types Q4_0,BF16]
//           [--rows 1,512] [--seconds 0.3] [--json] [--svg FILE]
// --only keeps the cases whose line contains TEXT ("tinyllama", "attention"); matrices of more than
// 2^27 weights are left out unless TEXT is part of their shape's name. --svg also writes a roofline
// picture.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/thread_pool.h"
#include "device/isa.h"
#include "device/machine_limits.h"
#include "device/ops.h"
#include "kernels/op_cases.h"
#include "kernels/quantized_kernels.h"
#include "kernels/testing/random_data.h"
#include "op_report.h"

namespace tutti {
namespace {

using device::Factors;
using device::MatrixPtr;
using device::Ops;

struct Options {
  device::ComputeClass compute_class = device::ComputeClass::kBf16;
  device::Isa isa = device::available_isas().back();
  int num_threads = 0;
  std::string only;
  std::vector<DType> types = {DType::kBF16, DType::kQ8_0, DType::kQ6_K, DType::kQ5_K,
                              DType::kQ4_K, DType::kQ5_0, DType::kQ4_1, DType::kQ4_0};
  std::vector<int> rows{std::begin(kernels::kRowCounts), std::end(kernels::kRowCounts)};
  double seconds = 0.3;  // for each case
  bool as_json = false;
  std::string svg_path;
};

// What one call of an operation does.
struct Work {
  std::string name;
  std::string kind;
  double bytes = 0;  // that must come from memory
  double operations = 0;
  Factors factors = Factors::kFloats;
};

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

class Bench {
 public:
  Bench(const Options& options, std::unique_ptr<Ops> ops)
      : options_(options), ops_(std::move(ops)), sweep_(ops_->pool()) {
    report_.compute = device::to_string(ops_->compute_class());
    report_.isa = device::to_string(ops_->isa());
    report_.num_threads = ops_->pool().num_threads();
  }

  const Report& run() {
    if (!options_.as_json) fmt::print("{}", table_head(report_));
    for (const auto& shape : kernels::kLinearCases) {
      constexpr std::int64_t kLarge = std::int64_t{1} << 27;
      const std::int64_t num_weights = std::int64_t{shape.num_outputs} * shape.num_inputs;
      // Smaller ones are timings of a barrier.
      if (num_weights < 500000) continue;
      const bool named = !options_.only.empty() &&
                         std::string(shape.name).find(options_.only) != std::string::npos;
      if (num_weights > kLarge && !named) continue;
      for (const DType dtype : options_.types) run_linear(shape, dtype);
    }
    for (const auto& shape : kernels::kAttentionCases) run_attention(shape);
    run_elementwise();
    run_barrier();
    return report_;
  }

 private:
  bool wanted(const std::string& name) const {
    return name.find(options_.only) != std::string::npos;
  }

  // Calls operation(i) with i = 0, 1, 2 ... for about options_.seconds.
  void time(const Work& work, const std::function<void(int)>& operation) {
    operation(0);
    const auto loop = device::fastest_loop(options_.isa, work.factors);
    std::vector<double> seconds, sweeps, multiplies;
    const auto measure_limits = [&] {
      for (int i = 0; i < 3; ++i) {
        sweeps.push_back(sweep_.gigabytes_per_second());
        if (loop) {
          multiplies.push_back(device::measure_multiply_gigaops(ops_->pool(), *loop));
        }
      }
    };
    measure_limits();
    const TimePoint start = SteadyClock::now();
    for (int i = 0; i < 9 || to_seconds(SteadyClock::now() - start) < options_.seconds; ++i) {
      const TimePoint before = SteadyClock::now();
      operation(i + 1);
      seconds.push_back(to_seconds(SteadyClock::now() - before));
      if (to_seconds(SteadyClock::now() - start) > 5) break;
    }
    measure_limits();
    Timing timing{.name = work.name, .kind = work.kind, .seconds = median(seconds)};
    timing.bytes = work.bytes;
    timing.operations = work.operations;
    timing.read_limit = median(sweeps);
    if (loop && work.operations > 0) {
      timing.multiply_limit = median(multiplies);
      timing.loop = device::to_string(*loop);
    }
    report_.timings.push_back(timing);
    if (!options_.as_json) fmt::print("{}", table_line(timing));
    std::fflush(stdout);
  }

  // Weights of the type; beyond some rows the bytes of the first ones again.
  static std::vector<std::byte> weights_of(const kernels::LinearCase& shape, DType dtype,
                                           std::mt19937& random) {
    constexpr int kRandomRows = 256;
    const int num_random = std::min(shape.num_outputs, kRandomRows);
    auto bytes = kernels::random_weights(dtype, num_random, shape.num_inputs, random);
    const std::size_t row_bytes = bytes.size() / num_random;
    bytes.reserve(row_bytes * shape.num_outputs);
    for (int row = num_random; row < shape.num_outputs; ++row) {
      const auto* source = bytes.data() + (row % num_random) * row_bytes;
      bytes.insert(bytes.end(), source, source + row_bytes);
    }
    return bytes;
  }

  void run_linear(const kernels::LinearCase& shape, DType dtype) {
    if (shape.num_inputs % dtype_info(dtype).block_size != 0) return;
    const std::string label = fmt::format("{} {}", shape.name, to_string(dtype));
    const auto name = [&](int rows) { return fmt::format("{} M={}", label, rows); };
    if (std::none_of(options_.rows.begin(), options_.rows.end(),
                     [&](int rows) { return wanted(name(rows)); })) {
      return;
    }
    std::mt19937 random(1);
    const auto bytes = weights_of(shape, dtype, random);
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
    // What the kernel reads: its own layout where there is one, else the file's bytes.
    const std::size_t owned = ops_->owned_bytes(*matrices[0]);
    const double stored = static_cast<double>(owned > 0 ? owned : bytes.size());
    for (const int rows : options_.rows) {
      if (!wanted(name(rows))) continue;
      const auto x =
          kernels::random_floats(static_cast<std::size_t>(rows) * shape.num_inputs, random);
      std::vector<float> y(static_cast<std::size_t>(rows) * shape.num_outputs);
      time({name(rows), std::string(to_string(dtype)), stored,
            2.0 * rows * shape.num_outputs * shape.num_inputs, factors_of(dtype)},
           [&](int i) { ops_->linear(*matrices[i % matrices.size()], x.data(), rows, y.data()); });
    }
  }

  Factors factors_of(DType dtype) const {
    const auto* quantized =
        device::quantized_kernels_for(dtype, ops_->compute_class(), ops_->isa());
    return quantized != nullptr ? Factors::kBytes : Factors::kFloats;
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
    time({name, "attention", bytes, flops}, [&](int i) {
      ops_->attention(*cache,
                      {i % kv.num_layers, num_heads, 0.125f, shape.sliding_window, sequences},
                      q.data(), out.data());
    });
  }

  // What each operation pays for the threads: the time of a job that does nothing, of 1000 in a
  // row.
  void run_barrier() {
    const std::string name = "barrier x1000";
    if (!wanted(name)) return;
    time({name, "threads", 0}, [&](int) {
      for (int i = 0; i < 1000; ++i) ops_->pool().run([](int) {});
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
        time({name("rms_norm"), "elementwise", bytes},
             [&](int) { ops_->rms_norm(x.data(), rows, width, weight, 1e-5f, y.data()); });
      }
      if (wanted(name("silu_mul"))) {
        time({name("silu_mul"), "elementwise", 1.5 * bytes},
             [&](int) { ops_->silu_mul(x.data(), x.data(), rows, width, y.data()); });
      }
      if (wanted(name("add_scaled"))) {
        time({name("add_scaled"), "elementwise", 1.5 * bytes},
             [&](int) { ops_->add_scaled(y.data(), x.data(), 0.5f, y.size()); });
      }
    }
  }

  Options options_;
  std::unique_ptr<Ops> ops_;
  device::ReadSweep sweep_;
  Report report_;
};

template <typename Number>
bool parse_number(std::string_view word, Number& number) {
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), number);
  return error == std::errc() && end == word.data() + word.size() && number > 0;
}

// Calls take(word) for each word between commas; false when one is refused.
bool each_word(std::string_view list, const std::function<bool(std::string_view)>& take) {
  while (true) {
    const std::size_t comma = list.find(',');
    if (!take(list.substr(0, comma))) return false;
    if (comma == std::string_view::npos) return true;
    list.remove_prefix(comma + 1);
  }
}

bool parse_types(std::string_view list, std::vector<DType>& types) {
  types.clear();
  return each_word(list, [&](std::string_view word) {
    for (const DType dtype : kernels::kWeightTypes) {
      if (word != to_string(dtype)) continue;
      types.push_back(dtype);
      return true;
    }
    return false;
  });
}

bool parse_rows(std::string_view list, std::vector<int>& rows) {
  rows.clear();
  return each_word(list, [&](std::string_view word) {
    rows.push_back(0);
    return parse_number(word, rows.back());
  });
}

// False for a word that is unknown or a value that makes no sense.
bool parse(int count, char** words, Options& options) {
  for (int i = 1; i < count; ++i) {
    const std::string word = words[i];
    if (word == "--json") {
      options.as_json = true;
      continue;
    }
    if (++i == count) {
      fmt::print(stderr, "bench_ops: {} takes a value\n", word);
      return false;
    }
    const std::string value = words[i];
    bool known = !value.empty();
    if (word == "--isa" && device::parse_isa(value).ok()) {
      options.isa = device::parse_isa(value).value();
    } else if (word == "--compute" && device::parse_compute_class(value).ok()) {
      options.compute_class = device::parse_compute_class(value).value();
    } else if (word == "--threads") {
      known = parse_number(value, options.num_threads);
    } else if (word == "--seconds") {
      known = parse_number(value, options.seconds);
    } else if (word == "--types") {
      known = parse_types(value, options.types);
    } else if (word == "--rows") {
      known = parse_rows(value, options.rows);
    } else if (word == "--only") {
      options.only = value;
    } else if (word == "--svg") {
      options.svg_path = value;
    } else {
      known = false;
    }
    if (!known) {
      fmt::print(stderr, "bench_ops: {} {}: no such flag, or not one of its values\n", word, value);
      return false;
    }
  }
  return true;
}

int run(int count, char** words) {
  Options options;
  if (!parse(count, words, options)) {
    fmt::print(
        stderr,
        "bench_ops [--compute bf16|int8|q8|f32] [--isa ref|avx2|avx512|amx|neon] [--threads N]\n"
        "          [--only TEXT] [--types Q4_0,...] [--rows 1,16,...] [--seconds S] [--json] "
        "[--svg FILE]\n");
    return 2;
  }
  auto ops = Ops::create({options.compute_class, options.isa, options.num_threads});
  if (!ops.ok()) {
    fmt::print(stderr, "bench_ops: {}\n", ops.status().message());
    return 1;
  }
  Bench bench(options, std::move(ops).value());
  const Report& report = bench.run();
  if (options.as_json) fmt::print("{}", report_as_json(report));
  if (!options.svg_path.empty()) {
    std::ofstream svg(options.svg_path);
    svg << roofline_svg(report);
    if (!svg.flush()) {
      fmt::print(stderr, "bench_ops: cannot write {}\n", options.svg_path);
      return 1;
    }
  }
  return 0;
}

}  // namespace
}  // namespace tutti

int main(int count, char** words) { return tutti::run(count, words); }
