// The floating-point mode of the bf16 class: denormals are zero, coming in and going out, as in the
// tile multiplier, which cannot do otherwise.
#pragma once

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace tutti::kernels {

// Sets flush-to-zero and denormals-are-zero on this thread, and puts the old mode back at the end.
class ScopedFlushDenormals {
 public:
#if defined(__x86_64__)
  ScopedFlushDenormals() : saved_(_mm_getcsr()) { _mm_setcsr(saved_ | kFlushToZero | kInputsZero); }
  ~ScopedFlushDenormals() { _mm_setcsr(saved_); }
#else
  ScopedFlushDenormals() = default;
  ~ScopedFlushDenormals() {}
#endif
  ScopedFlushDenormals(const ScopedFlushDenormals&) = delete;
  ScopedFlushDenormals& operator=(const ScopedFlushDenormals&) = delete;

#if defined(__x86_64__)
 private:
  static constexpr unsigned kFlushToZero = 0x8000;
  static constexpr unsigned kInputsZero = 0x0040;
  unsigned saved_;
#endif
};

}  // namespace tutti::kernels
