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

using LimitLoop = double (*)(long rounds);

double gigaflops(ThreadPool& pool, LimitLoop loop) {
  // About 2 ms a round on a core of 100 GFLOPS.
  constexpr long kLoopRounds = 1'000'000;
  std::vector<double> rates;
  for (int round = 0; round < kRounds; ++round) {
    std::vector<double> operations(pool.num_threads());
    const TimePoint start = SteadyClock::now();
    pool.run([&](int worker) { operations[worker] = loop(kLoopRounds); });
    const double seconds = to_seconds(SteadyClock::now() - start);
    double total = 0;
    for (const double count : operations) total += count;
    rates.push_back(total / seconds / 1e9);
  }
  return median(rates);
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

MachineLimits measure_machine_limits(ThreadPool& pool) {
  MachineLimits limits;
  ReadSweep sweep(pool);
  std::vector<double> rates;
  for (int round = 0; round < kRounds; ++round) rates.push_back(sweep.gigabytes_per_second());
  limits.read_gigabytes_per_second = median(rates);
#if defined(__x86_64__)
  const CpuFeatures features = cpu_features();
  if (features.avx2) limits.avx2_fma_gigaflops = gigaflops(pool, kernels::fma_loop_avx2);
  if (features.avx512) limits.avx512_fma_gigaflops = gigaflops(pool, kernels::fma_loop_avx512);
  if (features.avx512_bf16) {
    limits.avx512_bf16_dot_gigaflops = gigaflops(pool, kernels::dot_loop_avx512_bf16);
  }
  if (features.amx) limits.amx_bf16_gigaflops = gigaflops(pool, kernels::tile_loop_amx);
#endif
  return limits;
}

}  // namespace tutti::device
