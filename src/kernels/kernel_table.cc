#include "kernels/kernel_table.h"

namespace tutti::kernels {

// Packed queries, sums, one block's sums, scores and packed weights of each row, two floats a value
// at most, and room to align each part.
std::size_t attention_scratch_bytes() {
  constexpr std::size_t kRowBytes = sizeof(float) * (3 * kMaxHeadDim + 4 * kBlockSize + 5);
  return kMaxAttentionRows * kRowBytes + 4096;
}

}  // namespace tutti::kernels
