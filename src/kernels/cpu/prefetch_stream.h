// Fetching the next part of the weight stream while a product is computed.
// To be included after a vector_*.h.
#pragma once

#include "kernels/kernel_table.h"

namespace tutti::kernels {
namespace {

// A cache line into the second level: fetching into the first would be held up by its few misses in
// flight (on Zen 4 a walk over shuffled pages reads 17 GB/s so, and 37 GB/s like this).
TUTTI_INLINE void prefetch_line(const std::byte* p) {
#if defined(__aarch64__)
  asm volatile("prfm pldl2keep, [%0]" : : "r"(p));
#else
  asm volatile("prefetcht1 %0" : : "m"(*reinterpret_cast<const char*>(p)));
#endif
}

// Bytes to fetch ahead, doled out evenly over the steps of a product: a burst of fetches would fill
// the core's queue of misses, and the product's own loads would wait behind it.
struct PrefetchStream {
  const std::byte* next;
  std::ptrdiff_t apart;
  std::size_t lines;
  std::size_t steps;
  std::size_t owed = 0;

  PrefetchStream(const PanelProduct& job, std::size_t num_steps)
      : next(job.prefetch),
        apart(job.prefetch_apart),
        lines(job.prefetch == nullptr
                  ? 0
                  : job.prefetch_bytes / static_cast<std::size_t>(job.prefetch_apart)),
        steps(num_steps) {}

  TUTTI_INLINE void step() {
    for (owed += lines; owed >= steps; owed -= steps, next += apart) prefetch_line(next);
  }
};

}  // namespace
}  // namespace tutti::kernels
