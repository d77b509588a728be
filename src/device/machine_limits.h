// What this machine could do, measured on the spot: speeds are reported as a share of it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "base/clock.h"
#include "device/large_buffer.h"
#include "device/ops.h"

namespace tutti {
class ThreadPool;
}

namespace tutti::device {

// A loop of nothing but one instruction set's multiply-adds, in registers.
enum class MultiplyLoop {
  kAvx2Fma,         // f32
  kAvx512Fma,       // f32
  kAvx512Bf16,      // VDPBF16PS
  kAmxBf16,         // TDPBF16PS
  kAvx2Byte,        // VPMADDUBSW, added up in 16 bits
  kAvx512VnniByte,  // VPDPBUSD
  kAmxByte,         // TDPBSSD
};
inline constexpr int kNumMultiplyLoops = 7;

// "AVX2 f32", "AMX bytes", ...: for people.
const char* to_string(MultiplyLoop loop);
// "avx2_fma_gigaflops", "amx_byte_gigaops", ...: the figure's name in JSON.
const char* json_name(MultiplyLoop loop);

// What the products of a layer multiply.
enum class Factors { kFloats, kBytes };

// The fastest loop for these factors that `isa` allows on this machine, which a kernel's rate is a
// share of; nullopt for the scalar reference and for NEON, which has none.
std::optional<MultiplyLoop> fastest_loop(Isa isa, Factors factors);

// 10^9 operations a second (a multiply-add is two) by all threads of the pool; 0: the machine lacks
// the instructions. One pass takes some milliseconds.
double measure_multiply_gigaops(ThreadPool& pool, MultiplyLoop loop);

// All threads of the pool together.
struct MachineLimits {
  double read_gigabytes_per_second = 0;  // a sweep over memory far larger than the caches
  std::array<double, kNumMultiplyLoops> multiply_gigaops{};

  double gigaops(MultiplyLoop loop) const { return multiply_gigaops[static_cast<int>(loop)]; }
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
