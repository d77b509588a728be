// Sixteen floats as one AVX-512 register: the names of vector_avx2.h.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cpu/avx512_intrinsics.h"

#define TUTTI_INLINE [[gnu::always_inline]] inline

// Needs the macro above.
#include "kernels/cpu/bytes_x86.h"

namespace tutti::kernels {
namespace {

struct Vector {
  __m512 lanes;
};
constexpr std::size_t kVectorRegisterBytes = 64;
struct Words {
  __m512i lanes;
};

TUTTI_INLINE Vector zero() { return {_mm512_setzero_ps()}; }
TUTTI_INLINE Vector broadcast(float x) { return {_mm512_set1_ps(x)}; }
TUTTI_INLINE Vector load(const float* p) { return {_mm512_loadu_ps(p)}; }
TUTTI_INLINE void store(float* p, Vector x) { _mm512_storeu_ps(p, x.lanes); }

TUTTI_INLINE Vector add(Vector a, Vector b) { return {_mm512_add_ps(a.lanes, b.lanes)}; }
TUTTI_INLINE Vector sub(Vector a, Vector b) { return {_mm512_sub_ps(a.lanes, b.lanes)}; }
TUTTI_INLINE Vector mul(Vector a, Vector b) { return {_mm512_mul_ps(a.lanes, b.lanes)}; }
TUTTI_INLINE Vector div(Vector a, Vector b) { return {_mm512_div_ps(a.lanes, b.lanes)}; }
TUTTI_INLINE Vector fma(Vector a, Vector b, Vector c) {
  return {_mm512_fmadd_ps(a.lanes, b.lanes, c.lanes)};
}
TUTTI_INLINE Vector fms(Vector a, Vector b, Vector c) {
  return {_mm512_fmsub_ps(a.lanes, b.lanes, c.lanes)};
}
TUTTI_INLINE Vector minimum(Vector a, Vector b) { return {_mm512_min_ps(a.lanes, b.lanes)}; }
TUTTI_INLINE Vector maximum(Vector a, Vector b) { return {_mm512_max_ps(a.lanes, b.lanes)}; }
TUTTI_INLINE Vector zero_where_less(Vector x, Vector bound, Vector value) {
  const __mmask16 keep = _mm512_cmp_ps_mask(x.lanes, bound.lanes, _CMP_NLT_UQ);
  return {_mm512_maskz_mov_ps(keep, value.lanes)};
}
TUTTI_INLINE Words to_words(Vector x) { return {_mm512_cvtps_epi32(x.lanes)}; }
TUTTI_INLINE Vector to_float(Words x) { return {_mm512_cvtepi32_ps(x.lanes)}; }
TUTTI_INLINE Words load_integers(const std::int32_t* p) { return {_mm512_loadu_si512(p)}; }
TUTTI_INLINE void store_bytes(std::int8_t* p, Words x) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(x.lanes));
}
TUTTI_INLINE Vector scale_by_power(Vector x, Words n) {
  const __m512i bits = _mm512_castps_si512(x.lanes);
  return {_mm512_castsi512_ps(_mm512_add_epi32(bits, _mm512_slli_epi32(n.lanes, 23)))};
}

// Bits [begin, end) of sixteen, both clamped to 0..16.
TUTTI_INLINE __mmask16 lane_mask(int begin, int end) {
  const unsigned below_begin = begin <= 0 ? 0u : begin >= 16 ? 0xffffu : (1u << begin) - 1u;
  const unsigned below_end = end <= 0 ? 0u : end >= 16 ? 0xffffu : (1u << end) - 1u;
  return static_cast<__mmask16>(below_end & ~below_begin);
}
TUTTI_INLINE Vector select_lanes(Vector x, Vector other, int begin, int end) {
  return {_mm512_mask_mov_ps(other.lanes, lane_mask(begin, end), x.lanes)};
}
TUTTI_INLINE Vector load_first(const float* p, int count) {
  return {_mm512_maskz_loadu_ps(lane_mask(0, count), p)};
}
TUTTI_INLINE void store_first(float* p, Vector x, int count) {
  _mm512_mask_storeu_ps(p, lane_mask(0, count), x.lanes);
}

TUTTI_INLINE __m256 upper_half(__m512 x) {
  return _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(x), 1));
}
TUTTI_INLINE float sum_lanes(Vector x) {
  const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(x.lanes), upper_half(x.lanes));
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}
TUTTI_INLINE float first_lane(Vector x) {
  return _mm256_cvtss_f32(_mm512_castps512_ps256(x.lanes));
}
TUTTI_INLINE float largest_lane(Vector x) {
  const __m256 eight = _mm256_max_ps(_mm512_castps512_ps256(x.lanes), upper_half(x.lanes));
  const __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps(two, two, 1)));
}

TUTTI_INLINE Vector even_of_pairs(const std::uint16_t* p) {
  return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_loadu_si512(p), 16))};
}
TUTTI_INLINE Vector odd_of_pairs(const std::uint16_t* p) {
  const __m512i upper = _mm512_set1_epi32(static_cast<int>(0xffff0000u));
  return {_mm512_castsi512_ps(_mm512_and_si512(_mm512_loadu_si512(p), upper))};
}

TUTTI_INLINE __m512i load_byte_pairs(const std::byte* p) {
  return _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
TUTTI_INLINE Vector even_of_byte_pairs(const std::byte* p) {
  return to_float({_mm512_srai_epi32(_mm512_slli_epi32(load_byte_pairs(p), 24), 24)});
}
TUTTI_INLINE Vector odd_of_byte_pairs(const std::byte* p) {
  return to_float({_mm512_srai_epi32(_mm512_slli_epi32(load_byte_pairs(p), 16), 24)});
}

TUTTI_INLINE Vector rounded(Vector x) {
  const __m512i bits = _mm512_castps_si512(x.lanes);
  const __m512i last = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const __m512i bias = _mm512_add_epi32(last, _mm512_set1_epi32(0x7fff));
  const __m512i magnitude = _mm512_and_si512(bits, _mm512_set1_epi32(0x7fffffff));
  const __mmask16 is_nan = _mm512_cmpgt_epi32_mask(magnitude, _mm512_set1_epi32(0x7f800000));
  const __mmask16 is_denormal = _mm512_cmpgt_epi32_mask(_mm512_set1_epi32(0x00800000), magnitude);
  __m512i result = _mm512_add_epi32(bits, bias);
  result = _mm512_mask_or_epi32(result, is_nan, bits, _mm512_set1_epi32(0x00400000));
  result = _mm512_mask_and_epi32(result, is_denormal, bits,
                                 _mm512_set1_epi32(static_cast<int>(0x80000000u)));
  const __m512i upper = _mm512_set1_epi32(static_cast<int>(0xffff0000u));
  return {_mm512_castsi512_ps(_mm512_and_si512(result, upper))};
}

TUTTI_INLINE Vector rounded_normal(Vector x) {
  const __m512i bits = _mm512_castps_si512(x.lanes);
  const __m512i last = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const __m512i sum = _mm512_add_epi32(bits, _mm512_add_epi32(last, _mm512_set1_epi32(0x7fff)));
  const __m512i upper = _mm512_set1_epi32(static_cast<int>(0xffff0000u));
  return {_mm512_castsi512_ps(_mm512_and_si512(sum, upper))};
}

TUTTI_INLINE void store_bf16(std::uint16_t* p, Vector x) {
  const __m512i words = _mm512_srli_epi32(_mm512_castps_si512(x.lanes), 16);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(words));
}
// store_bf16(p, rounded(x)). VCVTNEPS2BF16 is the law's rounding, denormals included.
TUTTI_INLINE void store_rounded(std::uint16_t* p, Vector x) {
#if defined(__AVX512BF16__)
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), (__m256i)_mm512_cvtneps_pbh(x.lanes));
#else
  store_bf16(p, rounded(x));
#endif
}
TUTTI_INLINE Vector widen_bf16(const std::uint16_t* p) {
  const __m256i values = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(values), 16))};
}
TUTTI_INLINE Vector widen_f16(const std::byte* p) {
  return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))};
}
TUTTI_INLINE Vector widen_bytes(Bytes bytes) {
  return {_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes))};
}

// Lane j of register i <-> lane i of register j.
TUTTI_INLINE void transpose_lanes(__m512i (&r)[16]) {
  __m512i t[16];
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) {
    t[2 * i] = _mm512_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
    t[2 * i + 1] = _mm512_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    r[4 * i] = _mm512_unpacklo_epi64(t[4 * i], t[4 * i + 2]);
    r[4 * i + 1] = _mm512_unpackhi_epi64(t[4 * i], t[4 * i + 2]);
    r[4 * i + 2] = _mm512_unpacklo_epi64(t[4 * i + 1], t[4 * i + 3]);
    r[4 * i + 3] = _mm512_unpackhi_epi64(t[4 * i + 1], t[4 * i + 3]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    const __m512i a = _mm512_shuffle_i32x4(r[i], r[4 + i], 0x88);
    const __m512i b = _mm512_shuffle_i32x4(r[i], r[4 + i], 0xdd);
    const __m512i c = _mm512_shuffle_i32x4(r[8 + i], r[12 + i], 0x88);
    const __m512i d = _mm512_shuffle_i32x4(r[8 + i], r[12 + i], 0xdd);
    t[i] = _mm512_shuffle_i32x4(a, c, 0x88);
    t[i + 4] = _mm512_shuffle_i32x4(b, d, 0x88);
    t[i + 8] = _mm512_shuffle_i32x4(a, c, 0xdd);
    t[i + 12] = _mm512_shuffle_i32x4(b, d, 0xdd);
  }
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) r[i] = t[i];
}

TUTTI_INLINE void transpose_16x16(const std::uint32_t* in, std::uint32_t* out) {
  __m512i r[16];
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) r[i] = _mm512_loadu_si512(in + 16 * i);
  transpose_lanes(r);
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) _mm512_storeu_si512(out + 32 * i, r[i]);
}

}  // namespace
}  // namespace tutti::kernels
