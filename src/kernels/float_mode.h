// The floating-point mode of the bf16 class: denormals are zero, coming in and going out, as in the
// tile multiplier, which cannot do otherwise.
#pragma once

#include <cstdint>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace tutti::kernels {

// Sets flush-to-zero and denormals-are-zero on this thread, and puts the old mode back at the end.
class ScopedFlushDenormals {
 public:
  ScopedFlushDenormals() : saved_(mode()) { set_mode(saved_ | kFlush); }
  ~ScopedFlushDenormals() { set_mode(saved_); }
  ScopedFlushDenormals(const ScopedFlushDenormals&) = delete;
  ScopedFlushDenormals& operator=(const ScopedFlushDenormals&) = delete;

 private:
#if defined(__x86_64__)
  using Mode = unsigned;
  static constexpr Mode kFlush = 0x8040;  // MXCSR: FTZ, DAZ
  static Mode mode() { return _mm_getcsr(); }
  static void set_mode(Mode mode) { _mm_setcsr(mode); }
#elif defined(__aarch64__)
  using Mode = std::uint64_t;
  static constexpr Mode kFlush = Mode{1} << 24;  // FPCR: FZ, of inputs and outputs
  static Mode mode() {
    Mode mode;
    asm volatile("mrs %0, fpcr" : "=r"(mode));
    return mode;
  }
  static void set_mode(Mode mode) { asm volatile("msr fpcr, %0" : : "r"(mode)); }
#else
  using Mode = int;
  static constexpr Mode kFlush = 0;
  static Mode mode() { return 0; }
  static void set_mode(Mode) {}
#endif
  Mode saved_;
};

}  // namespace tutti::kernels
