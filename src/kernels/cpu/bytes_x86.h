// Sixteen bytes, and what the weight formats do with them; the same for AVX2 and AVX-512.
#pragma once

#include <immintrin.h>

#include <cstddef>

namespace tutti::kernels {
namespace {

using Bytes = __m128i;

TUTTI_INLINE Bytes load_bytes(const std::byte* p) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
}
TUTTI_INLINE Bytes splat_byte(int x) { return _mm_set1_epi8(static_cast<char>(x)); }
TUTTI_INLINE Bytes or_bytes(Bytes a, Bytes b) { return _mm_or_si128(a, b); }
TUTTI_INLINE Bytes sub_bytes(Bytes a, Bytes b) { return _mm_sub_epi8(a, b); }
TUTTI_INLINE Bytes low_nibbles(Bytes bytes) { return _mm_and_si128(bytes, _mm_set1_epi8(15)); }
TUTTI_INLINE Bytes high_nibbles(Bytes bytes) {
  return _mm_and_si128(_mm_srli_epi16(bytes, 4), _mm_set1_epi8(15));
}
// 16 in each byte that has the byte of `bit` set.
TUTTI_INLINE Bytes sixteen_where_set(Bytes bytes, Bytes bit) {
  const __m128i is_set = _mm_cmpeq_epi8(_mm_and_si128(bytes, bit), bit);
  return _mm_and_si128(is_set, _mm_set1_epi8(16));
}
// 16 in each byte whose bit of `bits` (of 16) is set.
TUTTI_INLINE Bytes fifth_bits(int bits) {
  const __m128i spread = _mm_shuffle_epi8(
      _mm_cvtsi32_si128(bits), _mm_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1));
  return sixteen_where_set(spread, _mm_set1_epi64x(static_cast<long long>(0x8040201008040201ull)));
}
// Pair of bits `pair` (0..3) of each byte, times 16.
TUTTI_INLINE Bytes upper_bit_pairs(Bytes bytes, int pair) {
  const __m128i pairs = _mm_srl_epi16(bytes, _mm_cvtsi32_si128(2 * pair));
  return _mm_slli_epi16(_mm_and_si128(pairs, _mm_set1_epi8(3)), 4);
}
TUTTI_INLINE float half_to_float(int bits) {
  return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(bits)));
}
TUTTI_INLINE float square_root(float x) { return _mm_cvtss_f32(_mm_sqrt_ss(_mm_set_ss(x))); }

}  // namespace
}  // namespace tutti::kernels
