// Activations -> int8 (int8_law.h). To be included after a vector_*.h.
#pragma once

#include "kernels/int8_rows.h"

namespace tutti::kernels {
namespace {

// One superblock of one row, of which `count` inputs (1..256) are there: its x8, da, and the sums
// of its groups. Returns the sum of the x8.
TUTTI_INLINE int pack_superblock(const float* x, int count, std::int8_t* x8, float* scale,
                                 float* group_sums) {
  constexpr int kVectors = kSuperblockInputs / 16;
  Vector values[kVectors];
  Vector magnitude = zero();
  for (int i = 0; i < kVectors; ++i) {
    const int left = count - 16 * i;
    values[i] = left >= 16 ? load(x + 16 * i) : load_first(x + 16 * i, left < 0 ? 0 : left);
    magnitude = maximum(magnitude, maximum(values[i], sub(zero(), values[i])));
  }
  const float largest = largest_lane(magnitude);
  const bool is_zero = largest < kSmallestActivation;
  const Vector inverse = broadcast(is_zero ? 0.0f : kLargestInt8 / largest);
  *scale = is_zero ? 0.0f : largest / kLargestInt8;
  float total = 0;  // of integers below 2^16: exact
  for (int g = 0; g < kSuperblockGroups; ++g) {
    const Words first = to_words(mul(values[2 * g], inverse));
    const Words second = to_words(mul(values[2 * g + 1], inverse));
    store_bytes(x8 + kGroupInputs * g, first);
    store_bytes(x8 + kGroupInputs * g + 16, second);
    const float sum = sum_lanes(add(to_float(first), to_float(second)));
    group_sums[g] = sum * *scale;
    total += sum;
  }
  return static_cast<int>(total);
}

// Rows [row, row + 16), or as many as there are, of one superblock: x8 rows of 256 bytes at `x8`,
// the rest into `rows`. Returns how many rows.
TUTTI_INLINE int pack_rows_of_superblock(const PackRows& job, const Int8Rows& rows, int row,
                                         int superblock, std::int8_t* x8) {
  const int left = job.num_rows - row;
  const int count = left < kPartRows ? left : kPartRows;
  const int input = superblock * kSuperblockInputs;
  const int inputs_left = job.num_inputs - input;
  const int inputs = inputs_left < kSuperblockInputs ? inputs_left : kSuperblockInputs;
  for (int m = 0; m < count; ++m) {
    const std::ptrdiff_t index = rows.scale_index(superblock, row + m);
    const int sum = pack_superblock(job.x + (row + m) * job.row_stride + input, inputs,
                                    x8 + m * kSuperblockInputs, rows.scales + index,
                                    rows.sums_of(row + m) + superblock * kSuperblockGroups);
    rows.corrections[index] = 128 * sum;
  }
  return count;
}

}  // namespace
}  // namespace tutti::kernels
