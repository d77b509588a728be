// The int8 class on 256-bit registers, with AVX2 or AVX-VNNI. To be included after vector_avx2.h.
//
// Both multiply |x| with w of x's sign. AVX2 adds pairs of products in 16 bits, 2 * 127 * 127 at
// most, and then widens them; AVX-VNNI adds four in 32 bits.
#pragma once

#include "kernels/int8_rows.h"

namespace tutti::kernels {
namespace {

constexpr int kDotRows = 2;

TUTTI_INLINE __m256i table_of(std::int8_t code) {
  const auto& row = kInt8Weights<4>.rows[static_cast<std::uint8_t>(code)];
  return _mm256_broadcastsi128_si256(_mm_load_si128(reinterpret_cast<const __m128i*>(row.data())));
}

// Entries `q` (0..15) of the table of a 4-bit code.
TUTTI_INLINE __m256i weights_of(const Int8Record4&, std::int8_t code, __m256i q, std::uint32_t) {
  return _mm256_shuffle_epi8(table_of(code), q);
}

// Those of a 5-bit code, q and the fifth bits of 32 inputs.
TUTTI_INLINE __m256i weights_of(const Int8Record5&, std::int8_t code, __m256i q,
                                std::uint32_t fifth) {
  const auto& row = kInt8Weights<5>.rows[static_cast<std::uint8_t>(code)];
  const auto* halves = reinterpret_cast<const __m128i*>(row.data());
  const __m256i low = _mm256_broadcastsi128_si256(_mm_load_si128(halves));
  const __m256i high = _mm256_broadcastsi128_si256(_mm_load_si128(halves + 1));
  const __m256i byte_of_bit = _mm256_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2,
                                               2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3);
  const __m256i bit = _mm256_set1_epi64x(static_cast<long long>(0x8040201008040201ull));
  const __m256i bytes =
      _mm256_shuffle_epi8(_mm256_set1_epi32(static_cast<int>(fifth)), byte_of_bit);
  const __m256i is_set = _mm256_cmpeq_epi8(_mm256_and_si256(bytes, bit), bit);
  return _mm256_blendv_epi8(_mm256_shuffle_epi8(low, q), _mm256_shuffle_epi8(high, q), is_set);
}

TUTTI_INLINE std::uint32_t fifth_bits_of(const Int8Record4&, int, int) { return 0; }
TUTTI_INLINE std::uint32_t fifth_bits_of(const Int8Record5& record, int n, int group) {
  return static_cast<std::uint32_t>(record.fifth_bits[n][group / 2] >> (group % 2 * 32));
}

template <typename Record>
TUTTI_INLINE void dequantise(const Record& record, std::int8_t* out) {
  const __m256i low_bits = _mm256_set1_epi8(15);
  for (int pair = 0; pair < kRecordOutputs / 2; ++pair) {
    const int n = 2 * pair;
    std::int8_t* row = out + n * kSuperblockInputs;
    for (int group = 0; group < kSuperblockGroups; ++group) {
      const std::uint8_t* bytes = record.quants[pair][group / 2] + group % 2 * kGroupInputs;
      const __m256i both = _mm256_load_si256(reinterpret_cast<const __m256i*>(bytes));
      const __m256i first =
          weights_of(record, record.codes[n][group], _mm256_and_si256(both, low_bits),
                     fifth_bits_of(record, n, group));
      const __m256i second = weights_of(record, record.codes[n + 1][group],
                                        _mm256_and_si256(_mm256_srli_epi16(both, 4), low_bits),
                                        fifth_bits_of(record, n + 1, group));
      auto* to = reinterpret_cast<__m256i*>(row + group * kGroupInputs);
      _mm256_store_si256(to, first);
      _mm256_store_si256(to + kSuperblockInputs / 32, second);
    }
  }
}

#if defined(TUTTI_EMULATED)
[[gnu::noinline]] inline __m256i emulated_dpbusd(__m256i sum, __m256i a, __m256i b) {
  alignas(32) std::int32_t sums[8];
  alignas(32) std::uint8_t left[32];
  alignas(32) std::int8_t right[32];
  _mm256_store_si256(reinterpret_cast<__m256i*>(sums), sum);
  _mm256_store_si256(reinterpret_cast<__m256i*>(left), a);
  _mm256_store_si256(reinterpret_cast<__m256i*>(right), b);
  for (int i = 0; i < 32; ++i) sums[i / 4] += left[i] * right[i];
  return _mm256_load_si256(reinterpret_cast<const __m256i*>(sums));
}
#endif

// sum + products of unsigned and signed bytes, four to a lane.
TUTTI_INLINE __m256i add_products(__m256i sum, __m256i magnitudes, __m256i w) {
#if defined(__AVXVNNI__)
  return _mm256_dpbusd_avx_epi32(sum, magnitudes, w);
#elif defined(TUTTI_EMULATED)
  return emulated_dpbusd(sum, magnitudes, w);
#else
  const __m256i pairs = _mm256_maddubs_epi16(magnitudes, w);
  return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
#endif
}

// The sums of four registers' lanes.
TUTTI_INLINE __m128i sums_of_quad(const __m256i (&sums)[4]) {
  const __m256i first = _mm256_hadd_epi32(sums[0], sums[1]);
  const __m256i second = _mm256_hadd_epi32(sums[2], sums[3]);
  const __m256i all = _mm256_hadd_epi32(first, second);
  return _mm_add_epi32(_mm256_castsi256_si128(all), _mm256_extracti128_si256(all, 1));
}

template <int R>
TUTTI_INLINE void dot_quad(const std::int8_t* w, const std::int8_t* x, std::int32_t (*sums)[16]) {
  __m256i lanes[R][4];
#pragma GCC unroll 2
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int n = 0; n < 4; ++n) lanes[r][n] = _mm256_setzero_si256();
  }
#pragma GCC unroll 1
  for (int k = 0; k < kSuperblockInputs; k += 32) {
    __m256i weights[4];
#pragma GCC unroll 4
    for (int n = 0; n < 4; ++n) {
      weights[n] =
          _mm256_load_si256(reinterpret_cast<const __m256i*>(w + n * kSuperblockInputs + k));
    }
#pragma GCC unroll 2
    for (int r = 0; r < R; ++r) {
      const __m256i inputs =
          _mm256_loadu_si256(reinterpret_cast<const __m256i*>(x + r * kSuperblockInputs + k));
      const __m256i magnitudes = _mm256_abs_epi8(inputs);
#pragma GCC unroll 4
      for (int n = 0; n < 4; ++n) {
        lanes[r][n] = add_products(lanes[r][n], magnitudes, _mm256_sign_epi8(weights[n], inputs));
      }
    }
  }
#pragma GCC unroll 2
  for (int r = 0; r < R; ++r) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(sums[r]), sums_of_quad(lanes[r]));
  }
}

TUTTI_INLINE const KernelTable& bf16_table() { return avx2_kernels(); }

}  // namespace
}  // namespace tutti::kernels

#include "kernels/cpu/simd_int8_rows.h"
