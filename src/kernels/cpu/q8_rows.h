// Activations of the q8 class as its vector kernels read them.
//
// Packed rows: the rows are cut into blocks, from the largest size that fits what is left down to
// one row, and a block of R rows is, for each group of 32 inputs,
//   int8 q[8][R][4]   q[t][r][c]: input 4 t + c of row r
//   f32 scale[R], f32 scale * sum of q [R]
//   i32 correction[R]
//   i32 half correction [2][R]
// so that a kernel reads one stream, and that a row takes the same bytes in a block of any size.
// The correction is -8 * the sum of q, a half's -32 * the sum of inputs 0..15 or 16..31: whole,
// where a dot product gives 32-bit sums; or, where pairs of products are added in 16 bits, those of
// k % 4 < 2 and the others in 16 bits each.
//
// To be included after <immintrin.h>, with these defined by the including file:
//   kRowBlock                the largest block
//   block_rows(left)         rows of the next block when `left` are left
//   kCorrectionIsPair
#pragma once

#include <cstring>

#include "kernels/cpu/q8_quantize.h"

namespace tutti::kernels {
namespace {

constexpr int kRowGroupBytes = kQ8GroupInputs + 5 * 4;  // of one row and group

std::size_t packed_bytes(int num_rows, int num_inputs) {
  return static_cast<std::size_t>(num_rows) * (num_inputs / kQ8GroupInputs) * kRowGroupBytes;
}

TUTTI_INLINE void store_correction(PairSums sums, int factor, std::byte* p) {
  const std::uint32_t pair = static_cast<std::uint16_t>(factor * sums.first) |
                             std::uint32_t{static_cast<std::uint16_t>(factor * sums.second)} << 16;
  const auto whole = static_cast<std::uint32_t>(factor * (sums.first + sums.second));
  const std::uint32_t correction = kCorrectionIsPair ? pair : whole;
  std::memcpy(p, &correction, 4);
}

// Row `r` of a block of `rows` rows, one group.
TUTTI_INLINE void pack_group(const float* x, int rows, int r, std::byte* out) {
  const QuantizedGroup group = quantized_group(x);
  alignas(32) std::uint32_t words[8];
  _mm256_store_si256(reinterpret_cast<__m256i*>(words), group.q);
  for (int t = 0; t < 8; ++t) std::memcpy(out + (t * rows + r) * 4, &words[t], 4);
  const auto [low, high] = sums_of(group.q).halves;
  const PairSums all{low.first + high.first, low.second + high.second};
  const float scaled_sum = group.scale * static_cast<float>(all.first + all.second);
  std::byte* numbers = out + rows * kQ8GroupInputs + r * 4;
  std::memcpy(numbers, &group.scale, 4);
  std::memcpy(numbers + rows * 4, &scaled_sum, 4);
  store_correction(all, -8, numbers + rows * 8);
  store_correction(low, -32, numbers + rows * 12);
  store_correction(high, -32, numbers + rows * 16);
}

void pack_rows(const PackRows& job) {
  const int groups = job.num_inputs / kQ8GroupInputs;
  const int first_group = job.first_input / kQ8GroupInputs;
  const int last_group = job.inputs_end() / kQ8GroupInputs;
  const int end =
      job.last_row_block * kRowBlock < job.num_rows ? job.last_row_block * kRowBlock : job.num_rows;
  for (int m = job.first_row_block * kRowBlock; m < end;) {
    const int rows = block_rows(job.num_rows - m);
    std::byte* block =
        static_cast<std::byte*>(job.packed) + static_cast<std::size_t>(m) * groups * kRowGroupBytes;
    for (int r = 0; r < rows; ++r) {
      const float* x = job.x + (m + r) * job.row_stride;
      std::byte* out = block + first_group * rows * kRowGroupBytes;
      for (int group = first_group; group < last_group; ++group, out += rows * kRowGroupBytes) {
        pack_group(x + group * kQ8GroupInputs, rows, r, out);
      }
    }
    m += rows;
  }
}

// A cache line into all levels, and into the second and beyond.
TUTTI_INLINE void prefetch_near(const std::byte* p) {
  asm volatile("prefetcht0 %0" : : "m"(*reinterpret_cast<const char*>(p)));
}
TUTTI_INLINE void prefetch_far(const std::byte* p) {
  asm volatile("prefetcht1 %0" : : "m"(*reinterpret_cast<const char*>(p)));
}

template <int kBytes>
TUTTI_INLINE void prefetch_tile(const std::byte* tile, int near, int far) {
#pragma GCC unroll 8
  for (int i = 0; i < kBytes; i += 64) {
    prefetch_near(tile + near + i);
    prefetch_far(tile + far + i);
  }
}

TUTTI_INLINE std::int32_t load_word(const std::byte* p) {
  std::int32_t word;
  std::memcpy(&word, p, sizeof(word));
  return word;
}
TUTTI_INLINE float load_float(const std::byte* p) {
  float value;
  std::memcpy(&value, p, sizeof(value));
  return value;
}

}  // namespace
}  // namespace tutti::kernels
