// Activations of the q8 class by the law (q8_law.h), on AVX2 registers. To be included after
// <immintrin.h>.
#pragma once

#include <cstdint>

#include "kernels/q8_law.h"

#if !defined(TUTTI_INLINE)
#define TUTTI_INLINE [[gnu::always_inline]] inline
#endif

namespace tutti::kernels {
namespace {

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

// The sums of a half's inputs with k % 4 < 2, and of its others.
struct PairSums {
  int first, second;
};
struct GroupSums {
  PairSums halves[2];
};
TUTTI_INLINE GroupSums sums_of(__m256i q) {
  __m256i sums = _mm256_maddubs_epi16(_mm256_set1_epi8(1), q);
  sums = _mm256_add_epi16(sums, _mm256_shuffle_epi32(sums, 0x4e));
  sums = _mm256_add_epi16(sums, _mm256_shuffle_epi32(sums, 0xb1));
  const int low = _mm_cvtsi128_si32(_mm256_castsi256_si128(sums));
  const int high = _mm_cvtsi128_si32(_mm256_extracti128_si256(sums, 1));
  return {
      {{static_cast<std::int16_t>(low), low >> 16}, {static_cast<std::int16_t>(high), high >> 16}}};
}

// quantize_group, without its sum.
struct QuantizedGroup {
  __m256i q;
  float scale;
};
TUTTI_INLINE QuantizedGroup quantized_group(const float* x) {
  __m256 values[4];
  for (int i = 0; i < 4; ++i) values[i] = _mm256_loadu_ps(x + 8 * i);
  const std::uint32_t bits = largest_magnitude(values);
  const float largest = std::bit_cast<float>(bits);
  if (bits >= 0x7f800000u) {
    return {_mm256_setzero_si256(), std::numeric_limits<float>::quiet_NaN()};
  }
  if (largest < kQ8SmallestMaximum) return {_mm256_setzero_si256(), 0.0f};
  const float steps = best_steps_of(values, largest);
  return {quantized(values, steps / largest), largest / steps};
}

}  // namespace
}  // namespace tutti::kernels
