// Products of the q8 class on 256-bit registers: a vector is four inputs of 8 outputs, and a
// panel's 16 outputs are two of them.
//
// Up to four rows are multiplied at once, so that a vector of weights serves four products and a
// broadcast of four inputs two. With VPDPBUSD a product is one instruction; without, VPMADDUBSW and
// an addition in 16 bits, which are exact: two products of 4 bits are at most 3810 and sixteen
// 30480; of 5 bits, the weights less 16 stay within 32512, whatever wraps on the way.
// More rows than that share weights that were unpacked once: 16 tiles at a time, half of the
// first-level cache.
//
// Bound: few rows, the stream of weights; many, issue: 512 products of a row take 16
// multiplications, 16 additions and 8 broadcasts beside 10 operations for the scales.
//
// To be included after q8_rows.h, with TUTTI_Q8_DOT defined as 1 or 0: whether there is VPDPBUSD,
// then as dot_add(sum, weights, inputs).
#pragma once

namespace tutti::kernels {
namespace {

// Rows that are multiplied with every panel of a job before the next: their activations stay in
// the second-level cache.
constexpr int kRowsAtOnce = 64;
// Tiles unpacked at a time, and the bytes of one: vectors of weights, then scales and minimums.
constexpr int kTilesAtOnce = 16;
constexpr int kUnpackedScales = kQ8PanelOutputs * kQ8GroupInputs;
constexpr int kUnpackedBytes = kUnpackedScales + 2 * kQ8PanelOutputs * 4;
constexpr int kMostFewRows = 8;
// How far ahead of its reads a product of few rows fetches weights, in bytes.
constexpr int kNearBytes = 1536;
constexpr int kFarBytes = 8192;

TUTTI_INLINE __m256i load_vector(const std::byte* p) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
}
TUTTI_INLINE __m256 load_halves(const std::byte* p) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
TUTTI_INLINE __m256 load_bytes_as_floats(const std::byte* p) {
  return _mm256_cvtepi32_ps(
      _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
}

// Inputs 4 t .. 4 t + 3 of outputs 8 half .. 8 half + 7.
template <bool kFiveBits>
TUTTI_INLINE __m256i weights_of(const std::byte* tile, int t, int half) {
  const __m256i packed = load_vector(tile + 64 * (t % 4) + 32 * half);
  const __m256i nibble = _mm256_set1_epi8(15);
  const __m256i low = _mm256_and_si256(t < 4 ? packed : _mm256_srli_epi16(packed, 4), nibble);
  if constexpr (!kFiveBits) return low;
  const __m256i bits = load_vector(tile + kQ8NibbleBytes + 32 * half);
  const __m256i moved = t < 4 ? _mm256_slli_epi16(bits, 4 - t) : _mm256_srli_epi16(bits, t - 4);
  return _mm256_or_si256(low, _mm256_and_si256(moved, _mm256_set1_epi8(16)));
}

struct Scales {
  __m256 scale[2], minimum[2];
};
template <DType kType>
TUTTI_INLINE Scales scales_of(const std::byte* tile, const std::byte* header) {
  constexpr Q8Format kFormat = q8_format(kType);
  const std::byte* scales = tile + kFormat.tile_bytes() - kFormat.scale_bytes();
  Scales result{};
#pragma GCC unroll 2
  for (int half = 0; half < 2; ++half) {
    if constexpr (kFormat.has_superblocks) {
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
  constexpr bool kCentred = kFormat.offset != 0 || (kCorrectionIsPair && kFormat.five_bits);
  if constexpr (!kCentred) return _mm256_setzero_si256();
  const __m256i eights = _mm256_set1_epi32(load_word(correction));
  if constexpr (!kFormat.five_bits) return eights;
  return kCorrectionIsPair ? _mm256_slli_epi16(eights, 1) : _mm256_slli_epi32(eights, 1);
}
template <DType kType>
TUTTI_INLINE __m256i dot_of(__m256i sum, const std::byte* correction) {
  constexpr Q8Format kFormat = q8_format(kType);
  if constexpr (!kCorrectionIsPair) return sum;
  const __m256i ones = _mm256_set1_epi16(1);
  const __m256i dot = _mm256_madd_epi16(sum, ones);
  if constexpr (!kFormat.five_bits || kFormat.offset != 0) return dot;
  return _mm256_sub_epi32(dot, _mm256_madd_epi16(first_sum<kType>(correction), ones));
}

TUTTI_INLINE __m256i add_product(__m256i sum, __m256i weights, __m256i inputs) {
#if TUTTI_Q8_DOT
  return dot_add(sum, weights, inputs);
#else
  sum = _mm256_add_epi16(sum, _mm256_maddubs_epi16(weights, inputs));
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
  float* sums;    // [R][16], added to
};

// `tiles`: of the panel; with kUnpacked, what unpack_tiles wrote.
template <DType kType, int R, bool kUnpacked>
void multiply_block(const std::byte* tiles, const RowBlock& job) {
  constexpr Q8Format kFormat = q8_format(kType);
  constexpr int kTileBytes = kUnpacked ? kUnpackedBytes : kFormat.tile_bytes();
  const std::byte* tile = tiles;
  const std::byte* header = nullptr;
  const std::byte* x = job.x;
  for (int group = 0; group < job.num_groups; ++group) {
    if constexpr (kFormat.has_superblocks && !kUnpacked) {
      if (group % kQ8SuperblockGroups == 0) {
        header = tile;
        tile += kQ8SuperblockBytes;
      }
    }
    if constexpr (!kUnpacked) {
      if (job.prefetch) prefetch_tile<kTileBytes>(tile, kNearBytes, kFarBytes);
    }
    const std::byte* numbers = x + R * kQ8GroupInputs;
    const std::byte* corrections = numbers + 8 * R;
    __m256i sums[R][2];
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) sums[r][0] = sums[r][1] = first_sum<kType>(corrections + 4 * r);
#pragma GCC unroll 8
    for (int t = 0; t < 8; ++t) {
      __m256i weights[2];
#pragma GCC unroll 2
      for (int half = 0; half < 2; ++half) {
        weights[half] = kUnpacked ? load_vector(tile + 64 * t + 32 * half)
                                  : weights_of<kFormat.five_bits>(tile, t, half);
      }
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r) {
        const __m256i inputs = _mm256_set1_epi32(load_word(x + (t * R + r) * 4));
        sums[r][0] = add_product(sums[r][0], weights[0], inputs);
        sums[r][1] = add_product(sums[r][1], weights[1], inputs);
      }
    }
    Scales scales;
    if constexpr (kUnpacked) {
      const auto* stored = reinterpret_cast<const float*>(tile + kUnpackedScales);
      scales = {{_mm256_loadu_ps(stored), _mm256_loadu_ps(stored + 8)},
                {_mm256_loadu_ps(stored + 16), _mm256_loadu_ps(stored + 24)}};
    } else {
      scales = scales_of<kType>(tile, header);
    }
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) {
      const __m256 row_scale = _mm256_set1_ps(load_float(numbers + 4 * r));
#pragma GCC unroll 2
      for (int half = 0; half < 2; ++half) {
        const __m256i dot = dot_of<kType>(sums[r][half], corrections + 4 * r);
        // The sums of f32 stay in memory: the registers are full of those of integers.
        float* sum = job.sums + 16 * r + 8 * half;
        __m256 y =
            _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot), _mm256_mul_ps(scales.scale[half], row_scale),
                            _mm256_loadu_ps(sum));
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

// Tiles [first, first + count) of a panel.
template <DType kType>
void unpack_tiles(const std::byte* panel, int first, int count, std::byte* out) {
  constexpr Q8Format kFormat = q8_format(kType);
  for (int group = first; group < first + count; ++group, out += kUnpackedBytes) {
    const std::byte* tile = panel + kFormat.tile_offset(group);
    prefetch_tile<kFormat.tile_bytes()>(tile, kNearBytes, kFarBytes);
    const std::byte* header =
        panel + kFormat.tile_offset(group / kQ8SuperblockGroups * kQ8SuperblockGroups) -
        (kFormat.has_superblocks ? kQ8SuperblockBytes : 0);
#pragma GCC unroll 8
    for (int t = 0; t < 8; ++t) {
#pragma GCC unroll 2
      for (int half = 0; half < 2; ++half) {
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + 64 * t + 32 * half),
                            weights_of<kFormat.five_bits>(tile, t, half));
      }
    }
    const Scales scales = scales_of<kType>(tile, header);
    auto* stored = reinterpret_cast<float*>(out + kUnpackedScales);
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      _mm256_storeu_ps(stored + 8 * half, scales.scale[half]);
      _mm256_storeu_ps(stored + 16 + 8 * half, scales.minimum[half]);
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
  return kSumBytes + std::size_t{kTilesAtOnce} * kUnpackedBytes;
}

// sums[m][n] for rows [first, last) and one panel.
template <DType kType>
void multiply_panel(const QuantizedProduct& job, const std::byte* panel, int first, int last) {
  auto* sums = static_cast<float*>(job.scratch);
  std::byte* unpacked = static_cast<std::byte*>(job.scratch) + kSumBytes;
  const int groups = job.num_inputs / kQ8GroupInputs;
  const bool few = last - first <= kMostFewRows;
  const int groups_at_once = few ? groups : kTilesAtOnce;
  std::memset(sums, 0, static_cast<std::size_t>(last - first) * kQ8PanelOutputs * sizeof(float));
  for (int group = 0; group < groups; group += groups_at_once) {
    const int count = groups - group < groups_at_once ? groups - group : groups_at_once;
    if (!few) unpack_tiles<kType>(panel, group, count, unpacked);
    for (int m = first; m < last;) {
      const int rows = block_rows(job.num_rows - m);
      const std::size_t offset = static_cast<std::size_t>(m) * groups + group * rows;
      const RowBlock block{static_cast<const std::byte*>(job.packed) + offset * kRowGroupBytes,
                           count, m == 0, sums + (m - first) * kQ8PanelOutputs};
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
MultiplyPanel multiply_panel_of(DType dtype) {
  switch (dtype) {
    case DType::kQ4_0:
      return multiply_panel<DType::kQ4_0>;
    case DType::kQ4_1:
      return multiply_panel<DType::kQ4_1>;
    case DType::kQ5_0:
      return multiply_panel<DType::kQ5_0>;
    case DType::kQ5_1:
      return multiply_panel<DType::kQ5_1>;
    case DType::kQ4_K:
      return multiply_panel<DType::kQ4_K>;
    default:
      return multiply_panel<DType::kQ5_K>;
  }
}

void multiply(const QuantizedProduct& job) {
  const MultiplyPanel multiply_one = multiply_panel_of(job.dtype);
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

constexpr QuantizedKernels kTable{
    .panel_outputs = kQ8PanelOutputs,
    .row_block = kRowBlock,
    .takes = q8_takes,
    .panel_bytes = q8_panel_bytes,
    .pack_weights = q8_pack_weights,
    .unpack_row = q8_unpack_row,
    .packed_bytes = packed_bytes,
    .pack_rows = pack_rows,
    .scratch_bytes = scratch_bytes,
    .multiply = multiply,
};

}  // namespace
}  // namespace tutti::kernels
