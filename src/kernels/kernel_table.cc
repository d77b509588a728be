#include "kernels/kernel_table.h"

namespace tutti::kernels {

// cpu/attention_scratch.h: for each row the queries packed twice, three rows of sums and the scores
// of a chunk and packed weights of a page, of four bytes a value at most; a page of four bytes a
// value; the lists of visits of two chunks; and room to align each part.
std::size_t attention_scratch_bytes() {
  constexpr std::size_t kRowBytes = sizeof(float) * (5 * kMaxHeadDim + 2 * kAttentionChunk + 16);
  constexpr std::size_t kVisitBytes = 2 * 48 * static_cast<std::size_t>(kChunkPages);
  return kMaxAttentionRows * (kRowBytes + kVisitBytes) + page_values(kMaxHeadDim) * 4 + 4096;
}

}  // namespace tutti::kernels
