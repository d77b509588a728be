// Sixteen floats as two AVX2 registers: the vocabulary that the simd_*.h kernels are written in.
// vector_avx512.h has the same names. Everything has internal linkage, so that no code with AVX
// instructions can be picked by the linker for another translation unit.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#define TUTTI_INLINE [[gnu::always_inline]] inline

// Needs the macro above.
#include "kernels/cpu/bytes_x86.h"

namespace tutti::kernels {
namespace {

struct Vector {
  __m256 low, high;
};
// Of one register.
constexpr std::size_t kVectorRegisterBytes = 32;
// Integers of 32 bits, as many.
struct Words {
  __m256i low, high;
};

TUTTI_INLINE Vector zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
TUTTI_INLINE Vector broadcast(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
TUTTI_INLINE Vector load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
TUTTI_INLINE void store(float* p, Vector x) {
  _mm256_storeu_ps(p, x.low);
  _mm256_storeu_ps(p + 8, x.high);
}

TUTTI_INLINE Vector add(Vector a, Vector b) {
  return {_mm256_add_ps(a.low, b.low), _mm256_add_ps(a.high, b.high)};
}
TUTTI_INLINE Vector sub(Vector a, Vector b) {
  return {_mm256_sub_ps(a.low, b.low), _mm256_sub_ps(a.high, b.high)};
}
TUTTI_INLINE Vector mul(Vector a, Vector b) {
  return {_mm256_mul_ps(a.low, b.low), _mm256_mul_ps(a.high, b.high)};
}
TUTTI_INLINE Vector div(Vector a, Vector b) {
  return {_mm256_div_ps(a.low, b.low), _mm256_div_ps(a.high, b.high)};
}
// a * b + c, rounded once.
TUTTI_INLINE Vector fma(Vector a, Vector b, Vector c) {
  return {_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high)};
}
// a * b - c, rounded once.
TUTTI_INLINE Vector fms(Vector a, Vector b, Vector c) {
  return {_mm256_fmsub_ps(a.low, b.low, c.low), _mm256_fmsub_ps(a.high, b.high, c.high)};
}
// a < b ? a : b and a > b ? a : b.
TUTTI_INLINE Vector minimum(Vector a, Vector b) {
  return {_mm256_min_ps(a.low, b.low), _mm256_min_ps(a.high, b.high)};
}
TUTTI_INLINE Vector maximum(Vector a, Vector b) {
  return {_mm256_max_ps(a.low, b.low), _mm256_max_ps(a.high, b.high)};
}
// x < bound ? 0 : value.
TUTTI_INLINE Vector zero_where_less(Vector x, Vector bound, Vector value) {
  return {_mm256_andnot_ps(_mm256_cmp_ps(x.low, bound.low, _CMP_LT_OQ), value.low),
          _mm256_andnot_ps(_mm256_cmp_ps(x.high, bound.high, _CMP_LT_OQ), value.high)};
}
// To the nearest integer, ties to even.
TUTTI_INLINE Words to_words(Vector x) {
  return {_mm256_cvtps_epi32(x.low), _mm256_cvtps_epi32(x.high)};
}
TUTTI_INLINE Vector to_float(Words x) {
  return {_mm256_cvtepi32_ps(x.low), _mm256_cvtepi32_ps(x.high)};
}
TUTTI_INLINE Words load_integers(const std::int32_t* p) {
  const auto* halves = reinterpret_cast<const __m256i*>(p);
  return {_mm256_loadu_si256(halves), _mm256_loadu_si256(halves + 1)};
}
// Integers within -128..127, as bytes.
TUTTI_INLINE void store_bytes(std::int8_t* p, Words x) {
  const __m256i halves = _mm256_permute4x64_epi64(_mm256_packs_epi32(x.low, x.high), 0xd8);
  const __m128i low = _mm256_castsi256_si128(halves);
  const __m128i bytes = _mm_packs_epi16(low, _mm256_extracti128_si256(halves, 1));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), bytes);
}
// x * 2^n by adding n to the exponent.
TUTTI_INLINE Vector scale_by_power(Vector x, Words n) {
  const __m256i low = _mm256_add_epi32(_mm256_castps_si256(x.low), _mm256_slli_epi32(n.low, 23));
  const __m256i high = _mm256_add_epi32(_mm256_castps_si256(x.high), _mm256_slli_epi32(n.high, 23));
  return {_mm256_castsi256_ps(low), _mm256_castsi256_ps(high)};
}

TUTTI_INLINE __m256 lanes_in(__m256 x, __m256 other, __m256i lanes, int begin, int end) {
  const __m256i from = _mm256_cmpgt_epi32(lanes, _mm256_set1_epi32(begin - 1));
  const __m256i to = _mm256_cmpgt_epi32(_mm256_set1_epi32(end), lanes);
  return _mm256_blendv_ps(other, x, _mm256_castsi256_ps(_mm256_and_si256(from, to)));
}
// Lane i of x where begin <= i < end, else of `other`.
TUTTI_INLINE Vector select_lanes(Vector x, Vector other, int begin, int end) {
  const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  const __m256i upper = _mm256_add_epi32(lanes, _mm256_set1_epi32(8));
  return {lanes_in(x.low, other.low, lanes, begin, end),
          lanes_in(x.high, other.high, upper, begin, end)};
}
TUTTI_INLINE __m256i first_lanes(int count) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(count), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
// The first `count` floats (0..16), zeros beyond; nothing beyond is read.
TUTTI_INLINE Vector load_first(const float* p, int count) {
  return {_mm256_maskload_ps(p, first_lanes(count)),
          _mm256_maskload_ps(p + 8, first_lanes(count - 8))};
}
TUTTI_INLINE void store_first(float* p, Vector x, int count) {
  _mm256_maskstore_ps(p, first_lanes(count), x.low);
  _mm256_maskstore_ps(p + 8, first_lanes(count - 8), x.high);
}

// In the order of sum_of_lanes (bf16_law.h).
TUTTI_INLINE float sum_lanes(Vector x) {
  const __m256 eight = _mm256_add_ps(x.low, x.high);
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}
TUTTI_INLINE float first_lane(Vector x) { return _mm256_cvtss_f32(x.low); }
TUTTI_INLINE float largest_lane(Vector x) {
  const __m256 eight = _mm256_max_ps(x.low, x.high);
  const __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps(two, two, 1)));
}

// Sixteen pairs of bf16: the first of each pair, and the second, as floats.
TUTTI_INLINE __m256i load_words(const std::uint16_t* p) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
}
TUTTI_INLINE Vector even_of_pairs(const std::uint16_t* p) {
  return {_mm256_castsi256_ps(_mm256_slli_epi32(load_words(p), 16)),
          _mm256_castsi256_ps(_mm256_slli_epi32(load_words(p + 16), 16))};
}
TUTTI_INLINE Vector odd_of_pairs(const std::uint16_t* p) {
  const __m256i upper = _mm256_set1_epi32(static_cast<int>(0xffff0000u));
  return {_mm256_castsi256_ps(_mm256_and_si256(load_words(p), upper)),
          _mm256_castsi256_ps(_mm256_and_si256(load_words(p + 16), upper))};
}

// Of sixteen pairs of signed bytes, likewise.
TUTTI_INLINE __m256i load_byte_pairs(const std::byte* p) {
  return _mm256_cvtepi16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
TUTTI_INLINE __m256i low_byte(__m256i pairs) {
  return _mm256_srai_epi32(_mm256_slli_epi32(pairs, 24), 24);
}
TUTTI_INLINE Vector even_of_byte_pairs(const std::byte* p) {
  return to_float({low_byte(load_byte_pairs(p)), low_byte(load_byte_pairs(p + 16))});
}
TUTTI_INLINE Vector odd_of_byte_pairs(const std::byte* p) {
  return to_float(
      {_mm256_srai_epi32(load_byte_pairs(p), 8), _mm256_srai_epi32(load_byte_pairs(p + 16), 8)});
}

TUTTI_INLINE __m256 round_register(__m256 x) {
  const __m256i bits = _mm256_castps_si256(x);
  const __m256i last = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  const __m256i bias = _mm256_add_epi32(last, _mm256_set1_epi32(0x7fff));
  const __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x00400000));
  const __m256 is_nan = _mm256_cmp_ps(x, x, _CMP_UNORD_Q);
  const __m256i magnitude = _mm256_and_si256(bits, _mm256_set1_epi32(0x7fffffff));
  const __m256i is_denormal = _mm256_cmpgt_epi32(_mm256_set1_epi32(0x00800000), magnitude);
  const __m256i sign_only = _mm256_set1_epi32(static_cast<int>(0x80000000u));
  __m256i rounded = _mm256_add_epi32(bits, bias);
  rounded = _mm256_blendv_epi8(rounded, quiet, _mm256_castps_si256(is_nan));
  rounded = _mm256_blendv_epi8(rounded, _mm256_and_si256(bits, sign_only), is_denormal);
  const __m256i upper = _mm256_set1_epi32(static_cast<int>(0xffff0000u));
  return _mm256_castsi256_ps(_mm256_and_si256(rounded, upper));
}
// round_to_bf16 as floats (bf16_law.h).
TUTTI_INLINE Vector rounded(Vector x) { return {round_register(x.low), round_register(x.high)}; }

// The same where no value is denormal and the lower half of a NaN is zero.
TUTTI_INLINE __m256 round_normal_register(__m256 x) {
  const __m256i bits = _mm256_castps_si256(x);
  const __m256i last = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  const __m256i sum = _mm256_add_epi32(bits, _mm256_add_epi32(last, _mm256_set1_epi32(0x7fff)));
  const __m256i upper = _mm256_set1_epi32(static_cast<int>(0xffff0000u));
  return _mm256_castsi256_ps(_mm256_and_si256(sum, upper));
}
TUTTI_INLINE Vector rounded_normal(Vector x) {
  return {round_normal_register(x.low), round_normal_register(x.high)};
}

// Sixteen floats that are bf16 values, as such.
TUTTI_INLINE void store_bf16(std::uint16_t* p, Vector x) {
  const __m256i low = _mm256_srli_epi32(_mm256_castps_si256(x.low), 16);
  const __m256i high = _mm256_srli_epi32(_mm256_castps_si256(x.high), 16);
  const __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(low, high), 0xd8);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), packed);
}
TUTTI_INLINE void store_rounded(std::uint16_t* p, Vector x) { store_bf16(p, rounded(x)); }
TUTTI_INLINE Vector widen_bf16(const std::uint16_t* p) {
  const __m256i values = load_words(p);
  const __m256i low = _mm256_cvtepu16_epi32(_mm256_castsi256_si128(values));
  const __m256i high = _mm256_cvtepu16_epi32(_mm256_extracti128_si256(values, 1));
  return {_mm256_castsi256_ps(_mm256_slli_epi32(low, 16)),
          _mm256_castsi256_ps(_mm256_slli_epi32(high, 16))};
}
TUTTI_INLINE Vector widen_f16(const std::byte* p) {
  const auto* halves = reinterpret_cast<const __m128i*>(p);
  return {_mm256_cvtph_ps(_mm_loadu_si128(halves)), _mm256_cvtph_ps(_mm_loadu_si128(halves + 1))};
}
// Sixteen signed bytes.
TUTTI_INLINE Vector widen_bytes(Bytes bytes) {
  return {_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes)),
          _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(bytes, 8)))};
}

// out[j][i] = in[i][j] for 16 x 16 words; rows of `in` are 16 words apart, of `out` 32.
TUTTI_INLINE void transpose_8x8(const std::uint32_t* in, std::uint32_t* out) {
  __m256 r[8], t[8];
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) r[i] = _mm256_loadu_ps(reinterpret_cast<const float*>(in + 16 * i));
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    t[2 * i] = _mm256_unpacklo_ps(r[2 * i], r[2 * i + 1]);
    t[2 * i + 1] = _mm256_unpackhi_ps(r[2 * i], r[2 * i + 1]);
  }
#pragma GCC unroll 2
  for (int i = 0; i < 2; ++i) {
    r[4 * i] = _mm256_shuffle_ps(t[4 * i], t[4 * i + 2], 0x44);
    r[4 * i + 1] = _mm256_shuffle_ps(t[4 * i], t[4 * i + 2], 0xee);
    r[4 * i + 2] = _mm256_shuffle_ps(t[4 * i + 1], t[4 * i + 3], 0x44);
    r[4 * i + 3] = _mm256_shuffle_ps(t[4 * i + 1], t[4 * i + 3], 0xee);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    auto* low = reinterpret_cast<float*>(out + 32 * i);
    auto* high = reinterpret_cast<float*>(out + 32 * (i + 4));
    _mm256_storeu_ps(low, _mm256_permute2f128_ps(r[i], r[i + 4], 0x20));
    _mm256_storeu_ps(high, _mm256_permute2f128_ps(r[i], r[i + 4], 0x31));
  }
}
TUTTI_INLINE void transpose_16x16(const std::uint32_t* in, std::uint32_t* out) {
  transpose_8x8(in, out);
  transpose_8x8(in + 8, out + 8 * 32);
  transpose_8x8(in + 8 * 16, out + 8);
  transpose_8x8(in + 8 * 16 + 8, out + 8 * 32 + 8);
}

}  // namespace
}  // namespace tutti::kernels
