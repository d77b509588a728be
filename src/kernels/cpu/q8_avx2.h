// Products of the q8 class on 256-bit registers: a vector is four inputs of 8 outputs, and a
// panel's 16 outputs are two of them.
//
// Up to four rows are multiplied at once, so that a vector of weights serves four products and a
// broadcast of four inputs two. With VPDPBUSD a product is one instruction; without, VPMADDUBSW and
// an addition in 16 bits, which are exact: two products of 4 bits are at most 3810 and sixteen
// 30480; of 5 bits, the weights less 16 stay within 32512, whatever wraps on the way; so do those
// of 6 bits less 32 over half a group, where VPMADDWD multiplies them with the half's scale at no
// cost. Few rows split weights of 8 bits into sign and magnitude: two products are at most 32512,
// and each pair is added in 32 bits. Many split them into two parts of 4 bits, which are summed as
// such. More rows than that share weights that were unpacked once: 16 tiles at a time, half of the
// first-level cache.
//
// Bound: few rows, the stream of weights; many, issue: 512 products of a row take 16
// multiplications, 16 additions and 8 broadcasts beside 10 operations for the scales; of 8 bits
// twice as many multiplications and additions (with signs 64 rows took a tenth longer).
//
// To be included after q8_rows.h, with TUTTI_Q8_DOT defined as 1 or 0: whether there is VPDPBUSD,
// then as dot_add(sum, weights, inputs).
#pragma once

#include "kernels/q8_dispatch.h"

namespace tutti::kernels {
namespace {

// Rows that are multiplied with every panel of a job before the next: their activations stay in
// the second-level cache.
constexpr int kRowsAtOnce = 64;
// Tiles that were unpacked: vectors of weights, then scales, then minimums or the scales of both
// halves. Without VPDPBUSD weights of 8 bits become two parts, w = 16 (high - 8) + low.
template <DType kType>
struct Unpacked {
  static constexpr bool kTwoParts = kCorrectionIsPair && q8_format(kType).bits == 8;
  static constexpr int kPartBytes = kQ8PanelOutputs * kQ8GroupInputs;
  static constexpr int kScales = kTwoParts ? 2 * kPartBytes : kPartBytes;
  static constexpr int kHalfScales = kScales + kQ8PanelOutputs * 4;
  static constexpr int kBytes = kHalfScales + 2 * kQ8PanelOutputs * 4;
  // At a time, so that they stay in half of the first-level cache.
  static constexpr int kTiles = kTwoParts ? 8 : 16;
};
// Rows that are multiplied with tiles as they are stored. Plain nibbles are unpacked for every four
// of 16 rows in less time than it takes to store and load them.
template <DType kType>
constexpr int kMostFewRows = q8_format(kType).bits == 4 && !q8_format(kType).has_superblocks ? 16
                                                                                             : 8;
// How far ahead of its reads a product of few rows fetches weights, in bytes.
constexpr int kNearBytes = 1536;
constexpr int kFarBytes = 8192;

TUTTI_INLINE __m256i load_vector(const std::byte* p) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
}
TUTTI_INLINE void store_vector(std::byte* p, __m256i x) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), x);
}
TUTTI_INLINE __m256 load_halves(const std::byte* p) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
TUTTI_INLINE __m256 load_bytes_as_floats(const std::byte* p) {
  return _mm256_cvtepi32_ps(
      _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
}

TUTTI_INLINE __m256i load_signed_bytes(const std::byte* p) {
  return _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
}

// Inputs 4 t .. 4 t + 3 of outputs 8 half .. 8 half + 7: the stored integers; those of 8 bits plus
// 128 for VPDPBUSD.
template <int kBits>
TUTTI_INLINE __m256i weights_of(const std::byte* tile, int t, int half) {
  if constexpr (kBits == 8) {
    const __m256i weights = load_vector(tile + 64 * t + 32 * half);
    return kCorrectionIsPair ? weights : _mm256_xor_si256(weights, _mm256_set1_epi8(-128));
  }
  const __m256i packed = load_vector(tile + 64 * (t % 4) + 32 * half);
  const __m256i nibble = _mm256_set1_epi8(15);
  const __m256i low = _mm256_and_si256(t < 4 ? packed : _mm256_srli_epi16(packed, 4), nibble);
  if constexpr (kBits == 5) {
    const __m256i bits = load_vector(tile + kQ8NibbleBytes + 32 * half);
    const __m256i moved = t < 4 ? _mm256_slli_epi16(bits, 4 - t) : _mm256_srli_epi16(bits, t - 4);
    return _mm256_or_si256(low, _mm256_and_si256(moved, _mm256_set1_epi8(16)));
  }
  if constexpr (kBits == 6) {
    const __m256i bits = load_vector(tile + kQ8NibbleBytes + 64 * (t / 4) + 32 * half);
    const int place = 2 * (t % 4);
    const __m256i moved =
        place <= 4 ? _mm256_slli_epi16(bits, 4 - place) : _mm256_srli_epi16(bits, place - 4);
    return _mm256_or_si256(low, _mm256_and_si256(moved, _mm256_set1_epi8(0x30)));
  }
  return low;
}

struct Scales {
  __m256 scale[2], minimum[2];
  // [half of the inputs][half of the outputs]: in 32 bits, or twice in 16 for VPMADDWD.
  __m256i half_scales[2][2];
};
template <DType kType>
TUTTI_INLINE Scales scales_of(const std::byte* tile, const std::byte* header) {
  constexpr Q8Format kFormat = q8_format(kType);
  const std::byte* scales = tile + kFormat.integer_bytes();
  Scales result{};
#pragma GCC unroll 2
  for (int half = 0; half < 2; ++half) {
    if constexpr (kFormat.has_half_scales()) {
      result.scale[half] = load_halves(header + 16 * half);
#pragma GCC unroll 2
      for (int s = 0; s < 2; ++s) {
        const __m256i word = load_signed_bytes(scales + 16 * s + 8 * half);
        const __m256i pair = _mm256_blend_epi16(word, _mm256_slli_epi32(word, 16), 0xaa);
        result.half_scales[s][half] = kCorrectionIsPair ? pair : word;
      }
    } else if constexpr (kFormat.has_superblocks) {
      result.scale[half] =
          _mm256_mul_ps(load_halves(header + 16 * half), load_bytes_as_floats(scales + 8 * half));
      const __m256 minimum = _mm256_mul_ps(load_halves(header + 32 + 16 * half),
                                           load_bytes_as_floats(scales + 16 + 8 * half));
      result.minimum[half] = _mm256_xor_ps(minimum, _mm256_set1_ps(-0.0f));
    } else {
      result.scale[half] = load_halves(scales + 16 * half);
      if constexpr (kFormat.has_minimum)
        result.minimum[half] = load_halves(scales + 32 + 16 * half);
    }
  }
  return result;
}

// A row's sums before the first product, and what they stand for after the last.
template <DType kType>
TUTTI_INLINE __m256i first_sum(const std::byte* correction) {
  constexpr Q8Format kFormat = q8_format(kType);
  constexpr bool kSigned = kFormat.bits == 8;
  constexpr bool kCentred = kSigned
                                ? !kCorrectionIsPair
                                : kFormat.offset != 0 || (kCorrectionIsPair && kFormat.bits == 5);
  if constexpr (!kCentred) return _mm256_setzero_si256();
  const __m256i eights = _mm256_set1_epi32(load_word(correction));
  if constexpr (kSigned) return _mm256_slli_epi32(eights, 4);
  if constexpr (kFormat.bits != 5) return eights;  // or 32s: of half a group
  return kCorrectionIsPair ? _mm256_slli_epi16(eights, 1) : _mm256_slli_epi32(eights, 1);
}
template <DType kType>
TUTTI_INLINE __m256i dot_of(__m256i sum, const std::byte* correction) {
  constexpr Q8Format kFormat = q8_format(kType);
  if constexpr (!kCorrectionIsPair || kFormat.bits == 8) return sum;
  const __m256i ones = _mm256_set1_epi16(1);
  const __m256i dot = _mm256_madd_epi16(sum, ones);
  if constexpr (kFormat.bits != 5 || kFormat.offset != 0) return dot;
  return _mm256_sub_epi32(dot, _mm256_madd_epi16(first_sum<kType>(correction), ones));
}
TUTTI_INLINE __m256i times_half_scale(__m256i sum, __m256i scale) {
  return kCorrectionIsPair ? _mm256_madd_epi16(sum, scale) : _mm256_mullo_epi32(sum, scale);
}

// Weights as products take them.
struct Factor {
  __m256i weights, magnitudes;
};
template <int kBits>
TUTTI_INLINE Factor factor_of(__m256i weights) {
  if constexpr (kBits == 8 && kCorrectionIsPair) return {weights, _mm256_abs_epi8(weights)};
  return {weights, weights};
}
template <int kBits>
TUTTI_INLINE __m256i add_product(__m256i sum, const Factor& factor, __m256i inputs) {
#if TUTTI_Q8_DOT
  return dot_add(sum, factor.weights, inputs);
#else
  if constexpr (kBits == 8) {
    const __m256i products =
        _mm256_maddubs_epi16(factor.magnitudes, _mm256_sign_epi8(inputs, factor.weights));
    sum = _mm256_add_epi32(sum, _mm256_madd_epi16(products, _mm256_set1_epi16(1)));
  } else {
    sum = _mm256_add_epi16(sum, _mm256_maddubs_epi16(factor.weights, inputs));
  }
  // GCC would put the additions off to the end of the tile, and keep 64 products in memory.
  asm("" : "+x"(sum));
  return sum;
#endif
}

// Some tiles of a panel, and the activations of R rows that belong to them.
struct RowBlock {
  const std::byte* x;
  int num_groups;
  bool prefetch;  // nobody has read the tiles yet
  float* sums;    // [R][16], added to or, by the first tiles, written
  bool is_first;  // the panel's first tiles
};

// Adds the products of inputs [4 first, 4 last) of a tile; x: q of its R rows.
template <int kBits, int R, bool kUnpacked>
TUTTI_INLINE void add_products(const std::byte* tile, const std::byte* x, int first, int last,
                               __m256i (&sums)[R][2]) {
#pragma GCC unroll 8
  for (int t = first; t < last; ++t) {
    Factor factors[2];
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      factors[half] = factor_of<kBits>(kUnpacked ? load_vector(tile + 64 * t + 32 * half)
                                                 : weights_of<kBits>(tile, t, half));
    }
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) {
      const __m256i inputs = _mm256_set1_epi32(load_word(x + (t * R + r) * 4));
      sums[r][0] = add_product<kBits>(sums[r][0], factors[0], inputs);
      sums[r][1] = add_product<kBits>(sums[r][1], factors[1], inputs);
    }
  }
}

// dots [row][half of the outputs] of a tile of Q8_0 in two parts.
template <int R>
TUTTI_INLINE void dots_of_parts(const std::byte* tile, const std::byte* x, __m256i (&dots)[R][2]) {
  constexpr int kPartBytes = Unpacked<DType::kQ8_0>::kPartBytes;
  const std::byte* corrections = x + R * (kQ8GroupInputs + 8);
#pragma GCC unroll 2
  for (int half = 0; half < 2; ++half) {
    // GCC would keep the inputs that were broadcast for one half for the other, in memory.
    asm("" : "+r"(x));
    __m256i low[R], high[R];
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) {
      low[r] = _mm256_setzero_si256();
      high[r] = _mm256_set1_epi32(load_word(corrections + 4 * r));
    }
#pragma GCC unroll 8
    for (int t = 0; t < 8; ++t) {
      const __m256i lower = load_vector(tile + 64 * t + 32 * half);
      const __m256i upper = load_vector(tile + kPartBytes + 64 * t + 32 * half);
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r) {
        const __m256i inputs = _mm256_set1_epi32(load_word(x + (t * R + r) * 4));
        low[r] = add_product<4>(low[r], {lower, lower}, inputs);
        high[r] = add_product<4>(high[r], {upper, upper}, inputs);
      }
    }
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) {
      dots[r][half] = _mm256_add_epi32(_mm256_madd_epi16(low[r], _mm256_set1_epi16(1)),
                                       _mm256_madd_epi16(high[r], _mm256_set1_epi16(16)));
    }
  }
}

// dots [row][half of the outputs] of a tile.
template <DType kType, int R, bool kUnpacked>
TUTTI_INLINE void dots_of_tile(const std::byte* tile, const std::byte* x, const Scales& scales,
                               __m256i (&dots)[R][2]) {
  constexpr Q8Format kFormat = q8_format(kType);
  const std::byte* corrections = x + R * (kQ8GroupInputs + 8);
  if constexpr (kUnpacked && Unpacked<kType>::kTwoParts) {
    dots_of_parts<R>(tile, x, dots);
  } else if constexpr (kFormat.has_half_scales()) {
#pragma GCC unroll 2
    for (int s = 0; s < 2; ++s) {
      __m256i sums[R][2];
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r) {
        sums[r][0] = sums[r][1] = first_sum<kType>(corrections + 4 * R * (1 + s) + 4 * r);
      }
      add_products<kFormat.bits, R, kUnpacked>(tile, x, 4 * s, 4 * s + 4, sums);
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r) {
#pragma GCC unroll 2
        for (int half = 0; half < 2; ++half) {
          const __m256i dot = times_half_scale(sums[r][half], scales.half_scales[s][half]);
          dots[r][half] = s == 0 ? dot : _mm256_add_epi32(dots[r][half], dot);
        }
      }
    }
  } else {
    __m256i sums[R][2];
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) sums[r][0] = sums[r][1] = first_sum<kType>(corrections + 4 * r);
    add_products<kFormat.bits, R, kUnpacked>(tile, x, 0, 8, sums);
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) {
      dots[r][0] = dot_of<kType>(sums[r][0], corrections + 4 * r);
      dots[r][1] = dot_of<kType>(sums[r][1], corrections + 4 * r);
    }
  }
}

// What unpack_tiles stored.
template <DType kType>
TUTTI_INLINE Scales unpacked_scales(const std::byte* tile) {
  const auto* stored = reinterpret_cast<const float*>(tile + Unpacked<kType>::kScales);
  Scales scales{};
#pragma GCC unroll 2
  for (int half = 0; half < 2; ++half) {
    scales.scale[half] = _mm256_loadu_ps(stored + 8 * half);
    scales.minimum[half] = _mm256_loadu_ps(stored + 16 + 8 * half);
    if constexpr (q8_format(kType).has_half_scales()) {
      scales.half_scales[0][half] = load_vector(tile + Unpacked<kType>::kHalfScales + 32 * half);
      scales.half_scales[1][half] =
          load_vector(tile + Unpacked<kType>::kHalfScales + 64 + 32 * half);
    }
  }
  return scales;
}

// `tiles`: of the panel; with kUnpacked, what unpack_tiles wrote.
template <DType kType, int R, bool kUnpacked>
void multiply_block(const std::byte* tiles, const RowBlock& job) {
  constexpr Q8Format kFormat = q8_format(kType);
  constexpr int kTileBytes = kUnpacked ? Unpacked<kType>::kBytes : kFormat.tile_bytes();
  const std::byte* tile = tiles;
  const std::byte* header = nullptr;
  const std::byte* x = job.x;
  if (job.is_first) {
    for (int i = 0; i < 2 * R; ++i) _mm256_storeu_ps(job.sums + 8 * i, _mm256_setzero_ps());
  }
  for (int group = 0; group < job.num_groups; ++group) {
    if constexpr (kFormat.has_superblocks && !kUnpacked) {
      if (group % kQ8SuperblockGroups == 0) {
        header = tile;
        tile += kFormat.header_bytes();
      }
    }
    if constexpr (!kUnpacked) {
      if (job.prefetch) prefetch_tile<kTileBytes>(tile, kNearBytes, kFarBytes);
    }
    Scales scales;
    if constexpr (kUnpacked) {
      scales = unpacked_scales<kType>(tile);
    } else {
      scales = scales_of<kType>(tile, header);
    }
    __m256i dots[R][2];
    dots_of_tile<kType, R, kUnpacked>(tile, x, scales, dots);
    const std::byte* numbers = x + R * kQ8GroupInputs;
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) {
      const __m256 row_scale = _mm256_set1_ps(load_float(numbers + 4 * r));
#pragma GCC unroll 2
      for (int half = 0; half < 2; ++half) {
        // The sums of f32 stay in memory: the registers are full of those of integers.
        float* sum = job.sums + 16 * r + 8 * half;
        __m256 y =
            _mm256_fmadd_ps(_mm256_cvtepi32_ps(dots[r][half]),
                            _mm256_mul_ps(scales.scale[half], row_scale), _mm256_loadu_ps(sum));
        if constexpr (kFormat.has_minimum) {
          const __m256 row_sum = _mm256_set1_ps(load_float(numbers + 4 * R + 4 * r));
          y = _mm256_fmadd_ps(scales.minimum[half], row_sum, y);
        }
        _mm256_storeu_ps(sum, y);
      }
    }
    tile += kTileBytes;
    x += R * kRowGroupBytes;
  }
}

// The weights of a tile.
template <DType kType>
TUTTI_INLINE void unpack_weights(const std::byte* tile, std::byte* out) {
  constexpr int kBits = q8_format(kType).bits;
#pragma GCC unroll 8
  for (int t = 0; t < 8; ++t) {
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      std::byte* place = out + 64 * t + 32 * half;
      const __m256i weights = weights_of<kBits>(tile, t, half);
      if constexpr (Unpacked<kType>::kTwoParts) {
        const __m256i nibble = _mm256_set1_epi8(15);
        const __m256i high = _mm256_and_si256(_mm256_srli_epi16(weights, 4), nibble);
        store_vector(place, _mm256_and_si256(weights, nibble));
        store_vector(place + Unpacked<kType>::kPartBytes,
                     _mm256_xor_si256(high, _mm256_set1_epi8(8)));
      } else {
        store_vector(place, weights);
      }
    }
  }
}

// Tiles [first, first + count) of a panel.
template <DType kType>
void unpack_tiles(const std::byte* panel, int first, int count, std::byte* out) {
  constexpr Q8Format kFormat = q8_format(kType);
  for (int group = first; group < first + count; ++group, out += Unpacked<kType>::kBytes) {
    const std::byte* tile = panel + kFormat.tile_offset(group);
    prefetch_tile<kFormat.tile_bytes()>(tile, kNearBytes, kFarBytes);
    const Scales scales = scales_of<kType>(tile, panel + kFormat.header_offset(group));
    unpack_weights<kType>(tile, out);
    auto* stored = reinterpret_cast<float*>(out + Unpacked<kType>::kScales);
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      _mm256_storeu_ps(stored + 8 * half, scales.scale[half]);
      if constexpr (kFormat.has_minimum) {
        _mm256_storeu_ps(stored + 16 + 8 * half, scales.minimum[half]);
      }
      if constexpr (kFormat.has_half_scales()) {
        store_vector(out + Unpacked<kType>::kHalfScales + 32 * half, scales.half_scales[0][half]);
        store_vector(out + Unpacked<kType>::kHalfScales + 64 + 32 * half,
                     scales.half_scales[1][half]);
      }
    }
  }
}

template <DType kType, bool kUnpacked>
TUTTI_INLINE void multiply_rows(const std::byte* tiles, int rows, const RowBlock& job) {
  switch (rows) {
    case 4:
      return multiply_block<kType, 4, kUnpacked>(tiles, job);
    case 3:
      return multiply_block<kType, 3, kUnpacked>(tiles, job);
    case 2:
      return multiply_block<kType, 2, kUnpacked>(tiles, job);
    default:
      return multiply_block<kType, 1, kUnpacked>(tiles, job);
  }
}

void store_outputs(const float* sums, int num_rows, int num_outputs, float* y,
                   std::ptrdiff_t row_stride) {
  for (int m = 0; m < num_rows; ++m, sums += kQ8PanelOutputs, y += row_stride) {
    if (num_outputs >= kQ8PanelOutputs) {
      _mm256_storeu_ps(y, _mm256_loadu_ps(sums));
      _mm256_storeu_ps(y + 8, _mm256_loadu_ps(sums + 8));
    } else {
      for (int n = 0; n < num_outputs; ++n) y[n] = sums[n];
    }
  }
}

constexpr std::size_t kSumBytes = std::size_t{kRowsAtOnce} * kQ8PanelOutputs * sizeof(float);

std::size_t scratch_bytes(int /*num_rows*/, int /*num_inputs*/) {
  constexpr int kSomeType = Unpacked<DType::kQ6_K>::kBytes * Unpacked<DType::kQ6_K>::kTiles;
  static_assert(Unpacked<DType::kQ8_0>::kBytes * Unpacked<DType::kQ8_0>::kTiles <= kSomeType);
  return kSumBytes + kSomeType;
}

// sums[m][n] for rows [first, last) and one panel.
template <DType kType>
void multiply_panel(const QuantizedProduct& job, const std::byte* panel, int first, int last) {
  auto* sums = static_cast<float*>(job.scratch);
  std::byte* unpacked = static_cast<std::byte*>(job.scratch) + kSumBytes;
  const int groups = job.num_inputs / kQ8GroupInputs;
  const bool few = last - first <= kMostFewRows<kType>;
  const int groups_at_once = few ? groups : Unpacked<kType>::kTiles;
  for (int group = 0; group < groups; group += groups_at_once) {
    const int count = groups - group < groups_at_once ? groups - group : groups_at_once;
    if (!few) unpack_tiles<kType>(panel, group, count, unpacked);
    for (int m = first; m < last;) {
      const int rows = block_rows(job.num_rows - m);
      const std::size_t offset = static_cast<std::size_t>(m) * groups + group * rows;
      const RowBlock block{static_cast<const std::byte*>(job.packed) + offset * kRowGroupBytes,
                           count, m == 0, sums + (m - first) * kQ8PanelOutputs, group == 0};
      if (few) {
        multiply_rows<kType, false>(panel, rows, block);
      } else {
        multiply_rows<kType, true>(unpacked, rows, block);
      }
      m += rows;
    }
  }
}

using MultiplyPanel = void (*)(const QuantizedProduct&, const std::byte*, int, int);

void multiply(const QuantizedProduct& job) {
  const auto multiply_one = for_q8_type(job.dtype, []<DType kType>(TypeConstant<kType>) {
    return MultiplyPanel(multiply_panel<kType>);
  });
  const std::size_t panel_bytes = q8_panel_bytes(job.dtype, job.num_inputs);
  for (int first = 0; first < job.num_rows; first += kRowsAtOnce) {
    const int last = first + kRowsAtOnce < job.num_rows ? first + kRowsAtOnce : job.num_rows;
    for (int panel = 0; panel < job.num_panels; ++panel) {
      multiply_one(job, job.panels + panel_bytes * panel, first, last);
      const int output = panel * kQ8PanelOutputs;
      store_outputs(static_cast<const float*>(job.scratch), last - first, job.num_outputs - output,
                    job.y + first * job.row_stride + output, job.row_stride);
    }
  }
}

constexpr QuantizedKernels kTable = q8_table(kRowBlock, {.packed_bytes = packed_bytes,
                                                         .pack_rows = pack_rows,
                                                         .scratch_bytes = scratch_bytes,
                                                         .multiply = multiply});

}  // namespace
}  // namespace tutti::kernels
