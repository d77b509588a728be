// What this machine could do, measured on the spot: speeds are reported as a share of it.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/clock.h"
#include "device/large_buffer.h"

namespace tutti {
class ThreadPool;
}

namespace tutti::device {

// All threads of the pool together. 0: the machine lacks the instructions.
struct MachineLimits {
  double read_gigabytes_per_second = 0;  // a sweep over memory far larger than the caches
  double avx2_fma_gigaflops = 0;         // a loop of nothing but f32 multiply-adds
  double avx512_fma_gigaflops = 0;
  double avx512_bf16_dot_gigaflops = 0;  // VDPBF16PS
  double amx_bf16_gigaflops = 0;         // TDPBF16PS
};

// Takes about a second and 256 MiB. Each figure is the median of several rounds.
MachineLimits measure_machine_limits(ThreadPool& pool);

// The sweep alone, over memory kept between passes, for measurements in alternation.
class ReadSweep {
 public:
  explicit ReadSweep(ThreadPool& pool);

  // One pass by all threads.
  double gigabytes_per_second();

 private:
  static constexpr std::size_t kSweepBytes = std::size_t{256} << 20;
  ThreadPool& pool_;
  LargeBuffer memory_;
  volatile std::uint64_t last_result_ = 0;
};

}  // namespace tutti::device
