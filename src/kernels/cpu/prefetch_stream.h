// Fetching the next part of the weight stream while a product is computed.
// To be included after a vector_*.h.
#pragma once

#include "kernels/kernel_table.h"

namespace tutti::kernels {
namespace {

// A cache line into all levels.
TUTTI_INLINE void prefetch_line(const std::byte* p) {
  asm volatile("prefetcht0 %0" : : "m"(*reinterpret_cast<const char*>(p)));
}

// Bytes to fetch ahead, doled out evenly over the blocks of a product.
struct PrefetchStream {
  const std::byte* next;
  std::size_t lines;
  std::size_t blocks;
  std::size_t owed = 0;

  PrefetchStream(const PanelProduct& job, std::size_t total_blocks)
      : next(job.prefetch),
        lines(job.prefetch == nullptr ? 0 : job.prefetch_bytes / 64),
        blocks(total_blocks) {}

  // To be called at the start of each block.
  TUTTI_INLINE void fetch_for_block() {
    for (owed += lines; owed >= blocks; owed -= blocks, next += 64) prefetch_line(next);
  }
};

}  // namespace
}  // namespace tutti::kernels
