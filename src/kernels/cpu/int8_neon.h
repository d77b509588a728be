// The int8 class on NEON: with SMMLA (i8mm) where the file is compiled for it, else with SDOT
// (dot products), else with widening multiplications. To be included after vector_neon.h.
#pragma once

#include "kernels/int8_rows.h"

namespace tutti::kernels {
namespace {

#if defined(__ARM_FEATURE_MATMUL_INT8)
constexpr int kDotRows = 8;
#else
constexpr int kDotRows = 4;
#endif

// Weights of the integers `q` (0..15) and the fifth bits of 16 inputs.
TUTTI_INLINE int8x16_t weights_of(const Int8Record4&, std::int8_t code, Bytes q, int) {
  return vqtbl1q_s8(vld1q_s8(kInt8Weights<4>.rows[static_cast<std::uint8_t>(code)].data()), q);
}
TUTTI_INLINE int8x16_t weights_of(const Int8Record5&, std::int8_t code, Bytes q, int fifth) {
  const std::int8_t* row = kInt8Weights<5>.rows[static_cast<std::uint8_t>(code)].data();
  return vqtbl2q_s8({{vld1q_s8(row), vld1q_s8(row + 16)}}, or_bytes(q, fifth_bits(fifth)));
}

// Of 16 inputs: sixteenth `i` of the superblock.
TUTTI_INLINE int fifth_bits_of(const Int8Record4&, int, int) { return 0; }
TUTTI_INLINE int fifth_bits_of(const Int8Record5& record, int n, int i) {
  return static_cast<int>(record.fifth_bits[n][i / 4] >> (i % 4 * 16) & 0xffffu);
}

template <typename Record>
TUTTI_INLINE void dequantise(const Record& record, std::int8_t* out) {
  for (int pair = 0; pair < kRecordOutputs / 2; ++pair) {
    const int n = 2 * pair;
    const std::uint8_t* quants = record.quants[pair][0];
    for (int i = 0; i < kSuperblockInputs / 16; ++i) {
      const Bytes both = vld1q_u8(quants + 16 * i);
      std::int8_t* to = out + n * kSuperblockInputs + 16 * i;
      vst1q_s8(to, weights_of(record, record.codes[n][i / 2], low_nibbles(both),
                              fifth_bits_of(record, n, i)));
      vst1q_s8(to + kSuperblockInputs,
               weights_of(record, record.codes[n + 1][i / 2], high_nibbles(both),
                          fifth_bits_of(record, n + 1, i)));
    }
  }
}

TUTTI_INLINE int32x4_t add_products(int32x4_t sum, int8x16_t a, int8x16_t b) {
#if defined(__ARM_FEATURE_DOTPROD)
  return vdotq_s32(sum, a, b);
#else
  const int16x8_t low = vmull_s8(vget_low_s8(a), vget_low_s8(b));
  const int16x8_t high = vmull_s8(vget_high_s8(a), vget_high_s8(b));
  return vpadalq_s16(vpadalq_s16(sum, low), high);
#endif
}

template <int R>
TUTTI_INLINE void dot_by_rows(const std::int8_t* w, const std::int8_t* x,
                              std::int32_t (*sums)[16]) {
  int32x4_t lanes[R][4];
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int n = 0; n < 4; ++n) lanes[r][n] = vdupq_n_s32(0);
  }
#pragma GCC unroll 1
  for (int k = 0; k < kSuperblockInputs; k += 16) {
    int8x16_t weights[4];
#pragma GCC unroll 4
    for (int n = 0; n < 4; ++n) weights[n] = vld1q_s8(w + n * kSuperblockInputs + k);
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) {
      const int8x16_t inputs = vld1q_s8(x + r * kSuperblockInputs + k);
#pragma GCC unroll 4
      for (int n = 0; n < 4; ++n) lanes[r][n] = add_products(lanes[r][n], weights[n], inputs);
    }
  }
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r) {
    const int32x4_t first = vpaddq_s32(lanes[r][0], lanes[r][1]);
    const int32x4_t second = vpaddq_s32(lanes[r][2], lanes[r][3]);
    vst1q_s32(sums[r], vpaddq_s32(first, second));
  }
}

#if defined(__ARM_FEATURE_MATMUL_INT8)
// Inputs k..k+7 of two rows 256 bytes apart, and k+8..k+15.
struct TwoRows {
  int8x16_t first, second;
};
TUTTI_INLINE TwoRows load_two_rows(const std::int8_t* p) {
  const int64x2_t a = vreinterpretq_s64_s8(vld1q_s8(p));
  const int64x2_t b = vreinterpretq_s64_s8(vld1q_s8(p + kSuperblockInputs));
  return {vreinterpretq_s8_s64(vzip1q_s64(a, b)), vreinterpretq_s8_s64(vzip2q_s64(a, b))};
}

// SMMLA adds 2 x 2 sums of eight products: rows r, r + 1 and outputs n, n + 1.
template <int R>
TUTTI_INLINE void dot_by_matrices(const std::int8_t* w, const std::int8_t* x,
                                  std::int32_t (*sums)[16]) {
  int32x4_t squares[R / 2][2];
#pragma GCC unroll 4
  for (int r = 0; r < R / 2; ++r) squares[r][0] = squares[r][1] = vdupq_n_s32(0);
#pragma GCC unroll 1
  for (int k = 0; k < kSuperblockInputs; k += 16) {
    const TwoRows weights[2] = {load_two_rows(w + k), load_two_rows(w + 2 * kSuperblockInputs + k)};
#pragma GCC unroll 4
    for (int r = 0; r < R / 2; ++r) {
      const TwoRows inputs = load_two_rows(x + 2 * r * kSuperblockInputs + k);
#pragma GCC unroll 2
      for (int n = 0; n < 2; ++n) {
        squares[r][n] = vmmlaq_s32(squares[r][n], inputs.first, weights[n].first);
        squares[r][n] = vmmlaq_s32(squares[r][n], inputs.second, weights[n].second);
      }
    }
  }
#pragma GCC unroll 4
  for (int r = 0; r < R / 2; ++r) {
    vst1q_s32(sums[2 * r], vcombine_s32(vget_low_s32(squares[r][0]), vget_low_s32(squares[r][1])));
    vst1q_s32(sums[2 * r + 1],
              vcombine_s32(vget_high_s32(squares[r][0]), vget_high_s32(squares[r][1])));
  }
}
#endif

template <int R>
TUTTI_INLINE void dot_quad(const std::int8_t* w, const std::int8_t* x, std::int32_t (*sums)[16]) {
#if defined(__ARM_FEATURE_MATMUL_INT8)
  if constexpr (R % 2 == 0) {
    dot_by_matrices<R>(w, x, sums);
    return;
  }
#endif
  if constexpr (R <= 4) dot_by_rows<R>(w, x, sums);
}

TUTTI_INLINE const KernelTable& bf16_table() { return neon_kernels(); }

}  // namespace
}  // namespace tutti::kernels

#include "kernels/cpu/simd_int8_rows.h"
