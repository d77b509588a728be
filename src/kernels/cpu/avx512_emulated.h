// SIMDe's AVX-512 under the compiler's names, and what version 0.7.4 of it lacks.
#pragma once

#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>
#include <simde/x86/f16c.h>
#include <simde/x86/fma.h>

namespace tutti::kernels {
namespace {

using Emulated512 = simde__m512;
using Emulated512i = simde__m512i;

inline Emulated512i emulated_cvtps_epi32(Emulated512 x) {
  const simde__m512_private from = simde__m512_to_private(x);
  simde__m512i_private to;
  for (int i = 0; i < 2; ++i) to.m256i[i] = simde_mm256_cvtps_epi32(from.m256[i]);
  return simde__m512i_from_private(to);
}
inline Emulated512 emulated_cvtepi32_ps(Emulated512i x) {
  const simde__m512i_private from = simde__m512i_to_private(x);
  simde__m512_private to;
  for (int i = 0; i < 2; ++i) to.m256[i] = simde_mm256_cvtepi32_ps(from.m256i[i]);
  return simde__m512_from_private(to);
}
inline Emulated512i emulated_cvtepi8_epi32(__m128i x) {
  simde__m512i_private to;
  to.m256i[0] = _mm256_cvtepi8_epi32(x);
  to.m256i[1] = _mm256_cvtepi8_epi32(_mm_srli_si128(x, 8));
  return simde__m512i_from_private(to);
}
inline Emulated512i emulated_cvtepu8_epi32(__m128i x) {
  simde__m512i_private to;
  to.m256i[0] = _mm256_cvtepu8_epi32(x);
  to.m256i[1] = _mm256_cvtepu8_epi32(_mm_srli_si128(x, 8));
  return simde__m512i_from_private(to);
}
inline Emulated512i emulated_cvtepu16_epi32(__m256i x) {
  simde__m512i_private to;
  to.m256i[0] = _mm256_cvtepu16_epi32(_mm256_castsi256_si128(x));
  to.m256i[1] = _mm256_cvtepu16_epi32(_mm256_extracti128_si256(x, 1));
  return simde__m512i_from_private(to);
}
inline Emulated512i emulated_srai_epi32(Emulated512i x, unsigned count) {
  const simde__m512i_private from = simde__m512i_to_private(x);
  simde__m512i_private to;
  for (int i = 0; i < 16; ++i) to.i32[i] = from.i32[i] >> count;
  return simde__m512i_from_private(to);
}
inline Emulated512 emulated_cvtph_ps(__m256i x) {
  simde__m512_private to;
  to.m256[0] = _mm256_cvtph_ps(_mm256_castsi256_si128(x));
  to.m256[1] = _mm256_cvtph_ps(_mm256_extracti128_si256(x, 1));
  return simde__m512_from_private(to);
}
// The lower halves of the lanes.
inline __m256i emulated_cvtepi32_epi16(Emulated512i x) {
  const simde__m512i_private from = simde__m512i_to_private(x);
  alignas(32) unsigned short halves[16];
  for (int i = 0; i < 16; ++i) halves[i] = static_cast<unsigned short>(from.u32[i]);
  return _mm256_load_si256(reinterpret_cast<const __m256i*>(halves));
}
// The lowest bytes of the lanes.
inline __m128i emulated_cvtepi32_epi8(Emulated512i x) {
  const simde__m512i_private from = simde__m512i_to_private(x);
  alignas(16) unsigned char bytes[16];
  for (int i = 0; i < 16; ++i) bytes[i] = static_cast<unsigned char>(from.u32[i]);
  return _mm_load_si128(reinterpret_cast<const __m128i*>(bytes));
}
// These two are many times in the unrolled kernels: as functions they take the compiler less.
[[gnu::noinline]] inline Emulated512i emulated_permutexvar_epi8(Emulated512i index,
                                                                Emulated512i table) {
  const simde__m512i_private places = simde__m512i_to_private(index);
  const simde__m512i_private from = simde__m512i_to_private(table);
  simde__m512i_private to;
  for (int i = 0; i < 64; ++i) to.u8[i] = from.u8[places.u8[i] & 63];
  return simde__m512i_from_private(to);
}
[[gnu::noinline]] inline Emulated512i emulated_dpbusd_epi32(Emulated512i sums, Emulated512i a,
                                                            Emulated512i b) {
  simde__m512i_private to = simde__m512i_to_private(sums);
  const simde__m512i_private left = simde__m512i_to_private(a);
  const simde__m512i_private right = simde__m512i_to_private(b);
  for (int i = 0; i < 64; ++i) to.i32[i / 4] += left.u8[i] * right.i8[i];
  return simde__m512i_from_private(to);
}
inline Emulated512 emulated_maskz_loadu_ps(unsigned mask, const float* p) {
  simde__m512_private to;
  for (int i = 0; i < 16; ++i) to.f32[i] = (mask >> i & 1u) != 0 ? p[i] : 0.0f;
  return simde__m512_from_private(to);
}
inline void emulated_mask_storeu_ps(float* p, unsigned mask, Emulated512 x) {
  const simde__m512_private from = simde__m512_to_private(x);
  for (int i = 0; i < 16; ++i) {
    if ((mask >> i & 1u) != 0) p[i] = from.f32[i];
  }
}

// SIMDe's own alias has the arguments of the masked function.
#undef _mm512_madd_epi16
#define _mm512_madd_epi16(a, b) simde_mm512_madd_epi16(a, b)
#define _mm512_cvtps_epi32 emulated_cvtps_epi32
#define _mm512_cvtepi32_ps emulated_cvtepi32_ps
#define _mm512_cvtepi8_epi32 emulated_cvtepi8_epi32
#define _mm512_cvtepu8_epi32 emulated_cvtepu8_epi32
#define _mm512_cvtepu16_epi32 emulated_cvtepu16_epi32
#define _mm512_cvtph_ps emulated_cvtph_ps
#undef _mm512_srai_epi32
#define _mm512_srai_epi32 emulated_srai_epi32
#define _mm512_cvtepi32_epi16 emulated_cvtepi32_epi16
#define _mm512_cvtepi32_epi8 emulated_cvtepi32_epi8
#undef _mm512_permutexvar_epi8
#define _mm512_permutexvar_epi8 emulated_permutexvar_epi8
#undef _mm512_dpbusd_epi32
#define _mm512_dpbusd_epi32 emulated_dpbusd_epi32
#define _mm512_maskz_loadu_ps emulated_maskz_loadu_ps
#define _mm512_mask_storeu_ps emulated_mask_storeu_ps

}  // namespace
}  // namespace tutti::kernels
