#include "device/machine_limits.h"

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <vector>

#include "base/thread_pool.h"
#include "device/isa.h"
#include "device/large_buffer.h"
#include "device/ops.h"
#include "kernels/limit_loops.h"

namespace tutti::device {
namespace {

constexpr int kRounds = 7;

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// The exclusive or of the bytes, a multiple of 256.
std::uint64_t read_all(const std::byte* bytes, std::size_t count) {
#if defined(__x86_64__)
  if (cpu_features().avx2) return kernels::read_loop_avx2(bytes, count);
#endif
  std::uint64_t all = 0;
  for (std::size_t i = 0; i < count; i += sizeof(all)) {
    std::uint64_t word;
    std::memcpy(&word, bytes + i, sizeof(word));
    all ^= word;
  }
  return all;
}

struct LoopNames {
  const char* name;
  const char* json_name;
};

constexpr std::array<LoopNames, kNumMultiplyLoops> kLoopNames = {{
    {"AVX2 f32", "avx2_fma_gigaflops"},
    {"AVX-512 f32", "avx512_fma_gigaflops"},
    {"AVX-512 bf16", "avx512_bf16_dot_gigaflops"},
    {"AMX bf16", "amx_bf16_gigaflops"},
    {"AVX2 bytes", "avx2_byte_gigaops"},
    {"AVX-512 bytes", "avx512_vnni_byte_gigaops"},
    {"AMX bytes", "amx_byte_gigaops"},
}};

// Returns the number of operations; nullptr: the machine lacks the instructions.
using LimitLoop = double (*)(long rounds);

LimitLoop limit_loop([[maybe_unused]] MultiplyLoop loop) {
#if defined(__x86_64__)
  const CpuFeatures features = cpu_features();
  const bool vnni = features.avx512 && __builtin_cpu_supports("avx512vnni") != 0;
  // Every processor with tiles has had both kinds of product.
  switch (loop) {
    case MultiplyLoop::kAvx2Fma:
      return features.avx2 ? kernels::fma_loop_avx2 : nullptr;
    case MultiplyLoop::kAvx512Fma:
      return features.avx512 ? kernels::fma_loop_avx512 : nullptr;
    case MultiplyLoop::kAvx512Bf16:
      return features.avx512_bf16 ? kernels::dot_loop_avx512_bf16 : nullptr;
    case MultiplyLoop::kAmxBf16:
      return features.amx ? kernels::tile_loop_amx : nullptr;
    case MultiplyLoop::kAvx2Byte:
      return features.avx2 ? kernels::byte_loop_avx2 : nullptr;
    case MultiplyLoop::kAvx512VnniByte:
      return vnni ? kernels::byte_loop_avx512_vnni : nullptr;
    case MultiplyLoop::kAmxByte:
      return features.amx ? kernels::byte_loop_amx : nullptr;
  }
#endif
  return nullptr;
}

// Best last.
std::vector<MultiplyLoop> loops_of(Isa isa, Factors factors) {
  const bool floats = factors == Factors::kFloats;
  std::vector<MultiplyLoop> loops;
  if (isa == Isa::kNeon) return loops;
  if (isa >= Isa::kAvx2) loops.push_back(floats ? MultiplyLoop::kAvx2Fma : MultiplyLoop::kAvx2Byte);
  if (isa >= Isa::kAvx512 && floats) loops.push_back(MultiplyLoop::kAvx512Fma);
  if (isa >= Isa::kAvx512) {
    loops.push_back(floats ? MultiplyLoop::kAvx512Bf16 : MultiplyLoop::kAvx512VnniByte);
  }
  if (isa >= Isa::kAmx) loops.push_back(floats ? MultiplyLoop::kAmxBf16 : MultiplyLoop::kAmxByte);
  return loops;
}

}  // namespace

ReadSweep::ReadSweep(ThreadPool& pool) : pool_(pool), memory_(kSweepBytes) {
  // Written first: untouched pages are all the system's one page of zeros.
  pool_.parallel_for(memory_.size(), 1, [&](std::size_t begin, std::size_t end) {
    std::memset(memory_.data() + begin, 1, end - begin);
  });
}

double ReadSweep::gigabytes_per_second() {
  std::atomic<std::uint64_t> all{0};
  const TimePoint start = SteadyClock::now();
  constexpr std::size_t kUnit = 4096;
  pool_.parallel_for(memory_.size() / kUnit, 1, [&](std::size_t begin, std::size_t end) {
    all ^= read_all(memory_.data() + begin * kUnit, (end - begin) * kUnit);
  });
  const double seconds = to_seconds(SteadyClock::now() - start);
  // The result is used, so that no compiler leaves the reads out.
  last_result_ = all;
  return static_cast<double>(memory_.size()) / seconds / 1e9;
}

const char* to_string(MultiplyLoop loop) { return kLoopNames[static_cast<int>(loop)].name; }

const char* json_name(MultiplyLoop loop) { return kLoopNames[static_cast<int>(loop)].json_name; }

std::optional<MultiplyLoop> fastest_loop(Isa isa, Factors factors) {
  std::optional<MultiplyLoop> fastest;
  for (const MultiplyLoop loop : loops_of(isa, factors)) {
    if (limit_loop(loop) != nullptr) fastest = loop;
  }
  return fastest;
}

double measure_multiply_gigaops(ThreadPool& pool, MultiplyLoop loop) {
  const LimitLoop measured = limit_loop(loop);
  if (measured == nullptr) return 0;
  // About 2 ms on a core of 100 GFLOPS.
  constexpr long kLoopRounds = 1'000'000;
  std::vector<double> operations(pool.num_threads());
  const TimePoint start = SteadyClock::now();
  pool.run([&](int worker) { operations[worker] = measured(kLoopRounds); });
  const double seconds = to_seconds(SteadyClock::now() - start);
  double total = 0;
  for (const double count : operations) total += count;
  return total / seconds / 1e9;
}

MachineLimits measure_machine_limits(ThreadPool& pool) {
  MachineLimits limits;
  ReadSweep sweep(pool);
  const auto median_of_rounds = [](const auto& measure) {
    std::vector<double> rates;
    for (int round = 0; round < kRounds; ++round) rates.push_back(measure());
    return median(rates);
  };
  limits.read_gigabytes_per_second = median_of_rounds([&] { return sweep.gigabytes_per_second(); });
  for (int i = 0; i < kNumMultiplyLoops; ++i) {
    const auto loop = static_cast<MultiplyLoop>(i);
    limits.multiply_gigaops[i] =
        median_of_rounds([&] { return measure_multiply_gigaops(pool, loop); });
  }
  return limits;
}

}  // namespace tutti::device
