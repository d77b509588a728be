// Activations of the q8 class as its vector kernels read them.
//
// Packed rows: the rows are cut into blocks, from the largest size that fits what is left down to
// one row, and a block of R rows is, for each group of 32 inputs,
//   int8 q[8][R][4]   q[t][r][c]: input 4 t + c of row r
//   f32 scale[R], f32 scale * sum of q [R]
//   i32 correction[R]
// so that a kernel reads one stream, and that a row takes the same bytes in a block of any size.
// The correction is -8 * the sum of q: whole, where a dot product gives 32-bit sums; or, where
// pairs of products are added in 16 bits, those of k % 4 < 2 and the others in 16 bits each.
//
// To be included after <immintrin.h>, with these defined by the including file:
//   kRowBlock                the largest block
//   block_rows(left)         rows of the next block when `left` are left
//   kCorrectionIsPair
#pragma once

#include <cstring>

#include "kernels/q8_law.h"

#if !defined(TUTTI_INLINE)
#define TUTTI_INLINE [[gnu::always_inline]] inline
#endif

namespace tutti::kernels {
namespace {

constexpr int kRowGroupBytes = kQ8GroupInputs + 3 * 4;  // of one row and group

std::size_t packed_bytes(int num_rows, int num_inputs) {
  return static_cast<std::size_t>(num_rows) * (num_inputs / kQ8GroupInputs) * kRowGroupBytes;
}

TUTTI_INLINE std::uint32_t largest_magnitude(const __m256 (&x)[4]) {
  const __m256i magnitude = _mm256_set1_epi32(0x7fffffff);
  __m256i largest = _mm256_and_si256(_mm256_castps_si256(x[0]), magnitude);
  for (int i = 1; i < 4; ++i) {
    largest = _mm256_max_epi32(largest, _mm256_and_si256(_mm256_castps_si256(x[i]), magnitude));
  }
  __m128i half =
      _mm_max_epi32(_mm256_castsi256_si128(largest), _mm256_extracti128_si256(largest, 1));
  half = _mm_max_epi32(half, _mm_shuffle_epi32(half, 0x4e));
  half = _mm_max_epi32(half, _mm_shuffle_epi32(half, 0xb1));
  return static_cast<std::uint32_t>(_mm_cvtsi128_si32(half));
}

// The number of steps that the law chooses for a group whose largest magnitude is `largest`.
TUTTI_INLINE float best_steps_of(const __m256 (&x)[4], float largest) {
  static_assert(kQ8NumSteps == 4, "a register holds them");
  alignas(16) float inverses[kQ8NumSteps];
  _mm_store_ps(inverses, _mm_div_ps(_mm_loadu_ps(kQ8Steps), _mm_set1_ps(largest)));
  __m128 errors[kQ8NumSteps];
#pragma GCC unroll 4
  for (int j = 0; j < kQ8NumSteps; ++j) {
    const __m256 inverse = _mm256_broadcast_ss(&inverses[j]);
    __m256 lanes = _mm256_setzero_ps();
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      const __m256 scaled = _mm256_mul_ps(x[i], inverse);
      const __m256 error = _mm256_sub_ps(
          scaled, _mm256_round_ps(scaled, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
      lanes = _mm256_fmadd_ps(error, error, lanes);
    }
    errors[j] = _mm_add_ps(_mm256_castps256_ps128(lanes), _mm256_extractf128_ps(lanes, 1));
  }
  const __m128 sums =
      _mm_hadd_ps(_mm_hadd_ps(errors[0], errors[1]), _mm_hadd_ps(errors[2], errors[3]));
  constexpr float kCosts[] = {q8_step_cost(kQ8Steps[0]), q8_step_cost(kQ8Steps[1]),
                              q8_step_cost(kQ8Steps[2]), q8_step_cost(kQ8Steps[3])};
  const __m128 costs = _mm_mul_ps(sums, _mm_loadu_ps(kCosts));
  __m128 least = _mm_min_ps(costs, _mm_shuffle_ps(costs, costs, 0x4e));
  least = _mm_min_ps(least, _mm_shuffle_ps(least, least, 0xb1));
  const auto which = static_cast<unsigned>(_mm_movemask_ps(_mm_cmpeq_ps(costs, least)));
  return kQ8Steps[__builtin_ctz(which)];
}

// 32 values times `inverse` as int8, in order.
TUTTI_INLINE __m256i quantized(const __m256 (&x)[4], float inverse) {
  __m256i words[4];
  for (int i = 0; i < 4; ++i) {
    words[i] = _mm256_cvtps_epi32(_mm256_mul_ps(x[i], _mm256_set1_ps(inverse)));
  }
  // Packing works within halves: four inputs of each, the halves' own order put right at the end.
  const __m256i bytes = _mm256_packs_epi16(_mm256_packs_epi32(words[0], words[1]),
                                           _mm256_packs_epi32(words[2], words[3]));
  return _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

// The sums of pairs: those of k % 4 < 2 in the low half.
struct PairSums {
  std::int16_t low, high;
};
TUTTI_INLINE PairSums pair_sums(__m256i q) {
  const __m256i pairs = _mm256_maddubs_epi16(_mm256_set1_epi8(1), q);
  __m128i sums = _mm_add_epi16(_mm256_castsi256_si128(pairs), _mm256_extracti128_si256(pairs, 1));
  sums = _mm_add_epi16(sums, _mm_shuffle_epi32(sums, 0x4e));
  sums = _mm_add_epi16(sums, _mm_shuffle_epi32(sums, 0xb1));
  return {static_cast<std::int16_t>(_mm_extract_epi16(sums, 0)),
          static_cast<std::int16_t>(_mm_extract_epi16(sums, 1))};
}

// Row `r` of a block of `rows` rows, one group.
TUTTI_INLINE void pack_group(const float* x, int rows, int r, std::byte* out) {
  __m256 values[4];
  for (int i = 0; i < 4; ++i) values[i] = _mm256_loadu_ps(x + 8 * i);
  const std::uint32_t bits = largest_magnitude(values);
  const float largest = std::bit_cast<float>(bits);
  float scale = 0.0f;
  __m256i q = _mm256_setzero_si256();
  if (bits >= 0x7f800000u) {
    scale = std::numeric_limits<float>::quiet_NaN();
  } else if (!(largest < kQ8SmallestMaximum)) {
    const float steps = best_steps_of(values, largest);
    scale = largest / steps;
    q = quantized(values, steps / largest);
  }
  alignas(32) std::uint32_t words[8];
  _mm256_store_si256(reinterpret_cast<__m256i*>(words), q);
  for (int t = 0; t < 8; ++t) std::memcpy(out + (t * rows + r) * 4, &words[t], 4);
  const PairSums sums = pair_sums(q);
  const std::int32_t sum = sums.low + sums.high;
  const float scaled_sum = scale * static_cast<float>(sum);
  const std::uint32_t pair = static_cast<std::uint16_t>(-8 * sums.low) |
                             std::uint32_t{static_cast<std::uint16_t>(-8 * sums.high)} << 16;
  const std::uint32_t correction = kCorrectionIsPair ? pair : static_cast<std::uint32_t>(-8 * sum);
  std::byte* numbers = out + rows * kQ8GroupInputs + r * 4;
  std::memcpy(numbers, &scale, 4);
  std::memcpy(numbers + rows * 4, &scaled_sum, 4);
  std::memcpy(numbers + rows * 8, &correction, 4);
}

void pack_rows(const PackRows& job) {
  const int groups = job.num_inputs / kQ8GroupInputs;
  const int end =
      job.last_row_block * kRowBlock < job.num_rows ? job.last_row_block * kRowBlock : job.num_rows;
  for (int m = job.first_row_block * kRowBlock; m < end;) {
    const int rows = block_rows(job.num_rows - m);
    std::byte* block =
        static_cast<std::byte*>(job.packed) + static_cast<std::size_t>(m) * groups * kRowGroupBytes;
    for (int r = 0; r < rows; ++r) {
      const float* x = job.x + (m + r) * job.row_stride;
      std::byte* out = block;
      for (int group = 0; group < groups; ++group, out += rows * kRowGroupBytes) {
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
