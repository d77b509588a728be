// Products of the q8 class by AVX-512: a 64-byte vector is four inputs of a panel's 16 outputs.
//
// The eight vectors of a tile are unpacked once into registers, for up to 16 rows, whose sums are
// 16 more. A row costs eight products, with its four inputs broadcast, one conversion to f32 and
// two f32 operations (one more for a minimum). With VPDPBUSD a product is one instruction; without,
// VPMADDUBSW and an addition in 16 bits, which are exact: two products of 4 bits are at most 3810
// and sixteen 30480; of 5 bits, the weights less 16 stay within 32512, whatever wraps on the way;
// so do those of 6 bits less 32 over half a group, where VPMADDWD multiplies them with the half's
// scale at no cost. Of 8 bits, VPDPBUSD takes weights plus 128; without it they are split into
// magnitudes and a mask of signs, once for all rows, and each two products added in 32 bits.
//
// Bound: few rows, the stream of weights; many, the eight products: 64 bytes each, one a cycle on
// Zen 4, 10 of 12 cycles a row and tile being multiplications.
//
// To be included after q8_rows.h and the intrinsics, with TUTTI_Q8_DOT defined as 1 or 0: whether
// there is VPDPBUSD.
#pragma once

#include "kernels/q8_dispatch.h"

// Unrolled, the emulated build's many small functions would take the compiler minutes.
#if defined(TUTTI_EMULATED)
#define TUTTI_UNROLL(count)
#else
#define TUTTI_PRAGMA(text) _Pragma(#text)
#define TUTTI_UNROLL(count) TUTTI_PRAGMA(GCC unroll count)
#endif

namespace tutti::kernels {
namespace {

// Rows that are multiplied with every panel of a job before the next: their activations stay in
// the second-level cache.
constexpr int kRowsAtOnce = 64;
// How far ahead of its reads a product of few rows fetches weights, in bytes.
constexpr int kNearBytes = 1536;
constexpr int kFarBytes = 8192;

TUTTI_INLINE __m512 load_halves(const std::byte* p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
TUTTI_INLINE __m512 load_bytes_as_floats(const std::byte* p) {
  return _mm512_cvtepi32_ps(
      _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
}

TUTTI_INLINE __m512i load_signed_bytes(const std::byte* p) {
  return _mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}

// The integers of a tile as products take them.
struct Weights {
  __m512i fours[8];
#if !TUTTI_Q8_DOT
  __mmask64 negative[8];  // of 8 bits
#endif
  // Of Q6_K's halves: floats; or twice in 16 bits for VPMADDWD.
  __m512i half_scales[2];
};

template <int kBits>
TUTTI_INLINE void unpack_nibbles(const std::byte* tile, Weights& weights) {
  const __m512i nibble = _mm512_set1_epi8(15);
  TUTTI_UNROLL(4)
  for (int j = 0; j < 4; ++j) {
    const __m512i packed = _mm512_loadu_si512(tile + 64 * j);
    weights.fours[j] = _mm512_and_si512(packed, nibble);
    weights.fours[4 + j] = _mm512_and_si512(_mm512_srli_epi16(packed, 4), nibble);
  }
  if constexpr (kBits == 5) {
    const __m512i fifth = _mm512_set1_epi8(16);
    const __m512i bits = _mm512_loadu_si512(tile + kQ8NibbleBytes);
    TUTTI_UNROLL(8)
    for (int t = 0; t < 8; ++t) {
      const __m512i moved = t < 4 ? _mm512_slli_epi16(bits, t < 4 ? 4 - t : 0)
                                  : _mm512_srli_epi16(bits, t < 4 ? 0 : t - 4);
      weights.fours[t] = _mm512_or_si512(weights.fours[t], _mm512_and_si512(moved, fifth));
    }
  }
  if constexpr (kBits == 6) {
    const __m512i upper = _mm512_set1_epi8(0x30);
    TUTTI_UNROLL(8)
    for (int t = 0; t < 8; ++t) {
      const __m512i bits = _mm512_loadu_si512(tile + kQ8NibbleBytes + 64 * (t / 4));
      const int place = 2 * (t % 4);
      const __m512i moved = place <= 4 ? _mm512_slli_epi16(bits, place <= 4 ? 4 - place : 0)
                                       : _mm512_srli_epi16(bits, place <= 4 ? 0 : place - 4);
      weights.fours[t] = _mm512_or_si512(weights.fours[t], _mm512_and_si512(moved, upper));
    }
  }
}

template <DType kType>
TUTTI_INLINE void unpack_tile(const std::byte* tile, Weights& weights) {
  constexpr Q8Format kFormat = q8_format(kType);
  if constexpr (kFormat.bits == 8) {
    TUTTI_UNROLL(8)
    for (int t = 0; t < 8; ++t) {
      const __m512i stored = _mm512_loadu_si512(tile + 64 * t);
#if TUTTI_Q8_DOT
      weights.fours[t] = _mm512_xor_si512(stored, _mm512_set1_epi8(-128));
#else
      weights.fours[t] = _mm512_abs_epi8(stored);
      weights.negative[t] = _mm512_movepi8_mask(stored);
#endif
    }
  } else {
    unpack_nibbles<kFormat.bits>(tile, weights);
  }
  if constexpr (kFormat.has_half_scales()) {
    TUTTI_UNROLL(2)
    for (int s = 0; s < 2; ++s) {
      const __m512i words = load_signed_bytes(tile + kFormat.integer_bytes() + 16 * s);
#if TUTTI_Q8_DOT
      weights.half_scales[s] = _mm512_castps_si512(_mm512_cvtepi32_ps(words));
#else
      weights.half_scales[s] = _mm512_or_si512(_mm512_slli_epi32(words, 16),
                                               _mm512_and_si512(words, _mm512_set1_epi32(0xffff)));
#endif
    }
  }
}

// Where a row's q and its corrections lie; numbers of one row are R words apart.
struct RowGroup {
  const std::byte* q;
  const std::byte* correction;
};

template <int R>
TUTTI_INLINE __m512i four_inputs(const RowGroup& row, int t) {
  return _mm512_set1_epi32(load_word(row.q + t * R * 4));
}

#if TUTTI_Q8_DOT
template <int R>
TUTTI_INLINE __m512i add_products(__m512i sum, const Weights& weights, const RowGroup& row,
                                  int first, int last) {
  TUTTI_UNROLL(8)
  for (int t = first; t < last; ++t) {
    sum = _mm512_dpbusd_epi32(sum, weights.fours[t], four_inputs<R>(row, t));
  }
  return sum;
}

// float(dot) of one row.
template <DType kType, int R>
TUTTI_INLINE __m512 dot_of_row(const Weights& weights, const RowGroup& row) {
  constexpr Q8Format kFormat = q8_format(kType);
  if constexpr (kFormat.has_half_scales()) {
    // Every number is an integer below 2^24. Added to +0, so that a zero is +0.
    __m512 dot = _mm512_setzero_ps();
    TUTTI_UNROLL(2)
    for (int s = 0; s < 2; ++s) {
      const __m512i centre = _mm512_set1_epi32(load_word(row.correction + 4 * R * (1 + s)));
      const __m512i sum = add_products<R>(centre, weights, row, 4 * s, 4 * s + 4);
      dot = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), _mm512_castsi512_ps(weights.half_scales[s]),
                            dot);
    }
    return dot;
  }
  __m512i sum = _mm512_setzero_si512();
  constexpr int kOffset = kFormat.bits == 8 ? 128 : kFormat.offset;
  if constexpr (kOffset != 0) sum = _mm512_set1_epi32(load_word(row.correction));
  if constexpr (kOffset == 16) sum = _mm512_slli_epi32(sum, 1);
  if constexpr (kOffset == 128) sum = _mm512_slli_epi32(sum, 4);
  return _mm512_cvtepi32_ps(add_products<R>(sum, weights, row, 0, 8));
}
#else
// In 16 bits.
template <int R>
TUTTI_INLINE __m512i add_products(__m512i sum, const Weights& weights, const RowGroup& row,
                                  int first, int last) {
  TUTTI_UNROLL(8)
  for (int t = first; t < last; ++t) {
    sum = _mm512_add_epi16(sum, _mm512_maddubs_epi16(weights.fours[t], four_inputs<R>(row, t)));
#if !defined(TUTTI_EMULATED)
    // GCC would put the additions off to the end, and keep the products in memory.
    asm("" : "+v"(sum));
#endif
  }
  return sum;
}

template <int R>
TUTTI_INLINE __m512i dot_of_bytes(const Weights& weights, const RowGroup& row) {
  __m512i sum = _mm512_setzero_si512();
  TUTTI_UNROLL(8)
  for (int t = 0; t < 8; ++t) {
    const __m512i inputs = four_inputs<R>(row, t);
    const __m512i turned =
        _mm512_mask_sub_epi8(inputs, weights.negative[t], _mm512_setzero_si512(), inputs);
    const __m512i products = _mm512_maddubs_epi16(weights.fours[t], turned);
    sum = _mm512_add_epi32(sum, _mm512_madd_epi16(products, _mm512_set1_epi16(1)));
#if !defined(TUTTI_EMULATED)
    asm("" : "+v"(sum));
#endif
  }
  return sum;
}

// float(dot) of one row.
template <DType kType, int R>
TUTTI_INLINE __m512 dot_of_row(const Weights& weights, const RowGroup& row) {
  constexpr Q8Format kFormat = q8_format(kType);
  if constexpr (kFormat.bits == 8) return _mm512_cvtepi32_ps(dot_of_bytes<R>(weights, row));
  if constexpr (kFormat.has_half_scales()) {
    __m512i dots[2];
    TUTTI_UNROLL(2)
    for (int s = 0; s < 2; ++s) {
      const __m512i centre = _mm512_set1_epi32(load_word(row.correction + 4 * R * (1 + s)));
      const __m512i sum = add_products<R>(centre, weights, row, 4 * s, 4 * s + 4);
      dots[s] = _mm512_madd_epi16(sum, weights.half_scales[s]);
    }
    return _mm512_cvtepi32_ps(_mm512_add_epi32(dots[0], dots[1]));
  }
  // Types of five bits are summed less 16.
  constexpr bool kFiveBits = kFormat.bits == 5;
  constexpr bool kCentred = kFormat.offset != 0 || kFiveBits;
  const __m512i ones = _mm512_set1_epi16(1);
  __m512i centre = _mm512_setzero_si512();
  if constexpr (kCentred) centre = _mm512_set1_epi32(load_word(row.correction));
  if constexpr (kFiveBits) centre = _mm512_slli_epi16(centre, 1);
  __m512i sum = _mm512_madd_epi16(add_products<R>(centre, weights, row, 0, 8), ones);
  if constexpr (kFiveBits && kFormat.offset == 0) {
    sum = _mm512_sub_epi32(sum, _mm512_madd_epi16(centre, ones));
  }
  return _mm512_cvtepi32_ps(sum);
}
#endif

// What a panel's tiles are multiplied with, and where the result goes.
struct RowBlock {
  const std::byte* x;  // packed
  int num_groups;
  bool prefetch;  // nobody has read the panel yet
  float* y;
  std::ptrdiff_t row_stride;
  __mmask16 outputs;
};

template <DType kType, int R>
void multiply_block(const std::byte* tile, const RowBlock& job) {
  constexpr Q8Format kFormat = q8_format(kType);
  constexpr int kScales = kFormat.integer_bytes();
  const std::byte* x = job.x;
  __m512 y[R];
  TUTTI_UNROLL(16)
  for (int r = 0; r < R; ++r) y[r] = _mm512_setzero_ps();
  __m512 super_scale = _mm512_setzero_ps(), super_minimum = _mm512_setzero_ps();
  for (int group = 0; group < job.num_groups; ++group) {
    if constexpr (kFormat.has_superblocks) {
      if (group % kQ8SuperblockGroups == 0) {
        super_scale = load_halves(tile);
        if constexpr (kFormat.has_minimum) super_minimum = load_halves(tile + 32);
        tile += kFormat.header_bytes();
      }
    }
    if (job.prefetch) {
      // One row asks for lines as fast as memory gives them: the processor's own prefetching is
      // at work, and more than a line a tile, for what it stops at, takes up to a sixth longer.
      if constexpr (R == 1) {
        prefetch_far(tile + kFarBytes);
      } else {
        prefetch_tile<kFormat.tile_bytes()>(tile, kNearBytes, kFarBytes);
      }
    }
    Weights weights;
    unpack_tile<kType>(tile, weights);
    __m512 scale, minimum = _mm512_setzero_ps();
    if constexpr (kFormat.has_half_scales()) {
      scale = super_scale;
    } else if constexpr (kFormat.has_superblocks) {
      scale = _mm512_mul_ps(super_scale, load_bytes_as_floats(tile + kScales));
      minimum = _mm512_mul_ps(super_minimum, load_bytes_as_floats(tile + kScales + 16));
    } else {
      scale = load_halves(tile + kScales);
      if constexpr (kFormat.has_minimum) minimum = load_halves(tile + kScales + 32);
    }
    const std::byte* numbers = x + R * kQ8GroupInputs;
    TUTTI_UNROLL(16)
    for (int r = 0; r < R; ++r) {
      const __m512 dot = dot_of_row<kType, R>(weights, {x + 4 * r, numbers + 8 * R + 4 * r});
      const __m512 row_scale = _mm512_set1_ps(load_float(numbers + 4 * r));
      y[r] = _mm512_fmadd_ps(dot, _mm512_mul_ps(scale, row_scale), y[r]);
      if constexpr (kFormat.has_minimum) {
        const __m512 row_sum = _mm512_set1_ps(load_float(numbers + 4 * R + 4 * r));
        y[r] = kFormat.has_superblocks ? _mm512_fnmadd_ps(minimum, row_sum, y[r])
                                       : _mm512_fmadd_ps(minimum, row_sum, y[r]);
      }
    }
    tile += kFormat.tile_bytes();
    x += R * kRowGroupBytes;
  }
  TUTTI_UNROLL(16)
  for (int r = 0; r < R; ++r) {
    _mm512_mask_storeu_ps(job.y + r * job.row_stride, job.outputs, y[r]);
  }
}

using MultiplyBlock = void (*)(const std::byte*, const RowBlock&);

template <DType kType>
MultiplyBlock block_of_rows(int rows) {
  switch (rows) {
    case 16:
      return multiply_block<kType, 16>;
    case 8:
      return multiply_block<kType, 8>;
    case 4:
      return multiply_block<kType, 4>;
    case 2:
      return multiply_block<kType, 2>;
    default:
      return multiply_block<kType, 1>;
  }
}

MultiplyBlock block_of(DType dtype, int rows) {
  return for_q8_type(
      dtype, [rows]<DType kType>(TypeConstant<kType>) { return block_of_rows<kType>(rows); });
}

std::size_t scratch_bytes(int /*num_rows*/, int /*num_inputs*/) { return 0; }

void multiply(const QuantizedProduct& job) {
  const int groups = job.num_inputs / kQ8GroupInputs;
  const std::size_t panel_bytes = q8_panel_bytes(job.dtype, job.num_inputs);
  const std::size_t row_bytes = static_cast<std::size_t>(groups) * kRowGroupBytes;
  for (int first = 0; first < job.num_rows; first += kRowsAtOnce) {
    const int last = first + kRowsAtOnce < job.num_rows ? first + kRowsAtOnce : job.num_rows;
    for (int panel = 0; panel < job.num_panels; ++panel) {
      const int output = panel * kQ8PanelOutputs;
      const int outputs = job.num_outputs - output;
      const auto mask = static_cast<__mmask16>(outputs >= 16 ? 0xffffu : (1u << outputs) - 1u);
      for (int m = first; m < last;) {
        const int rows = block_rows(job.num_rows - m);
        block_of(job.dtype, rows)(
            job.panels + panel_bytes * panel,
            {static_cast<const std::byte*>(job.packed) + row_bytes * m, groups, m == 0,
             job.y + m * job.row_stride + output, job.row_stride, mask});
        m += rows;
      }
    }
  }
}

constexpr QuantizedKernels kTable = q8_table(kRowBlock, {.packed_bytes = packed_bytes,
                                                         .pack_rows = pack_rows,
                                                         .scratch_bytes = scratch_bytes,
                                                         .multiply = multiply});

}  // namespace
}  // namespace tutti::kernels
