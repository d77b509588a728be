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

// The exclusive or of the bytes, four cache lines a step so that many loads are under way.
std::uint64_t read_all(const std::byte* bytes, std::size_t count) {
  std::uint64_t sums[8] = {};
  for (std::size_t i = 0; i + 256 <= count; i += 256) {
    std::uint64_t words[32];
    std::memcpy(words, bytes + i, sizeof(words));
    __builtin_prefetch(bytes + i + 4096);
    __builtin_prefetch(bytes + i + 4096 + 64);
    __builtin_prefetch(bytes + i + 4096 + 128);
    __builtin_prefetch(bytes + i + 4096 + 192);
    for (int j = 0; j < 32; ++j) sums[j % 8] ^= words[j];
  }
  std::uint64_t all = 0;
  for (const std::uint64_t sum : sums) all ^= sum;
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
  pool_.parallel_for(memory_.size(), 1, [&](std::size_t begin, std::size_t end) {
    all ^= read_all(memory_.data() + begin, end - begin);
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
#endif
  return limits;
}

}  // namespace tutti::device
