// Products of the q8 class by AVX-512: a 64-byte vector is four inputs of a panel's 16 outputs.
//
// The eight vectors of a tile are unpacked once into registers, for up to 16 rows, whose sums are
// 16 more. A row costs eight products, with its four inputs broadcast, one conversion to f32 and
// two f32 operations (one more for a minimum). With VPDPBUSD a product is one instruction; without,
// VPMADDUBSW and an addition in 16 bits, which are exact: two products of 4 bits are at most 3810
// and sixteen 30480; of 5 bits, the weights less 16 stay within 32512, whatever wraps on the way.
//
// Bound: few rows, the stream of weights; many, the eight products: 64 bytes each, one a cycle on
// Zen 4, 10 of 12 cycles a row and tile being multiplications.
//
// To be included after q8_rows.h and the intrinsics, with TUTTI_Q8_DOT defined as 1 or 0: whether
// there is VPDPBUSD.
#pragma once

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

template <bool kFiveBits>
TUTTI_INLINE void unpack_tile(const std::byte* tile, __m512i (&weights)[8]) {
  const __m512i nibble = _mm512_set1_epi8(15);
  TUTTI_UNROLL(4)
  for (int j = 0; j < 4; ++j) {
    const __m512i packed = _mm512_loadu_si512(tile + 64 * j);
    weights[j] = _mm512_and_si512(packed, nibble);
    weights[4 + j] = _mm512_and_si512(_mm512_srli_epi16(packed, 4), nibble);
  }
  if constexpr (kFiveBits) {
    const __m512i fifth = _mm512_set1_epi8(16);
    const __m512i bits = _mm512_loadu_si512(tile + kQ8NibbleBytes);
    TUTTI_UNROLL(8)
    for (int t = 0; t < 8; ++t) {
      const __m512i moved = t < 4 ? _mm512_slli_epi16(bits, t < 4 ? 4 - t : 0)
                                  : _mm512_srli_epi16(bits, t < 4 ? 0 : t - 4);
      weights[t] = _mm512_or_si512(weights[t], _mm512_and_si512(moved, fifth));
    }
  }
}

// dot of one row: q and the correction `rows` words apart.
template <int kOffset, bool kFiveBits, int R>
TUTTI_INLINE __m512i dot_of_row(const __m512i (&weights)[8], const std::byte* q,
                                const std::byte* correction) {
#if TUTTI_Q8_DOT
  __m512i sum = _mm512_setzero_si512();
  if constexpr (kOffset != 0) sum = _mm512_set1_epi32(load_word(correction));
  if constexpr (kOffset == 16) sum = _mm512_slli_epi32(sum, 1);
  TUTTI_UNROLL(8)
  for (int t = 0; t < 8; ++t) {
    sum = _mm512_dpbusd_epi32(sum, weights[t], _mm512_set1_epi32(load_word(q + t * R * 4)));
  }
  return sum;
#else
  // Types of five bits are summed less 16.
  constexpr bool kCentred = kOffset != 0 || kFiveBits;
  const __m512i ones = _mm512_set1_epi16(1);
  __m512i centre = _mm512_setzero_si512();
  if constexpr (kCentred) centre = _mm512_set1_epi32(load_word(correction));
  if constexpr (kFiveBits) centre = _mm512_slli_epi16(centre, 1);
  __m512i sum = centre;
  TUTTI_UNROLL(8)
  for (int t = 0; t < 8; ++t) {
    const __m512i inputs = _mm512_set1_epi32(load_word(q + t * R * 4));
    sum = _mm512_add_epi16(sum, _mm512_maddubs_epi16(weights[t], inputs));
#if !defined(TUTTI_EMULATED)
    // GCC would put the additions off to the end, and keep the products in memory.
    asm("" : "+v"(sum));
#endif
  }
  sum = _mm512_madd_epi16(sum, ones);
  if constexpr (kFiveBits && kOffset == 0) {
    sum = _mm512_sub_epi32(sum, _mm512_madd_epi16(centre, ones));
  }
  return sum;
#endif
}

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
  constexpr int kScales = kFormat.tile_bytes() - kFormat.scale_bytes();
  const std::byte* x = job.x;
  __m512 y[R];
  TUTTI_UNROLL(16)
  for (int r = 0; r < R; ++r) y[r] = _mm512_setzero_ps();
  __m512 super_scale = _mm512_setzero_ps(), super_minimum = _mm512_setzero_ps();
  for (int group = 0; group < job.num_groups; ++group) {
    if constexpr (kFormat.has_superblocks) {
      if (group % kQ8SuperblockGroups == 0) {
        super_scale = load_halves(tile);
        super_minimum = load_halves(tile + 32);
        tile += kQ8SuperblockBytes;
      }
    }
    if (job.prefetch) prefetch_tile<kFormat.tile_bytes()>(tile, kNearBytes, kFarBytes);
    __m512i weights[8];
    unpack_tile<kFormat.five_bits>(tile, weights);
    __m512 scale, minimum = _mm512_setzero_ps();
    if constexpr (kFormat.has_superblocks) {
      scale = _mm512_mul_ps(super_scale, load_bytes_as_floats(tile + kScales));
      minimum = _mm512_mul_ps(super_minimum, load_bytes_as_floats(tile + kScales + 16));
    } else {
      scale = load_halves(tile + kScales);
      if constexpr (kFormat.has_minimum) minimum = load_halves(tile + kScales + 32);
    }
    const std::byte* numbers = x + R * kQ8GroupInputs;
    TUTTI_UNROLL(16)
    for (int r = 0; r < R; ++r) {
      const __m512i dot = dot_of_row<kFormat.offset, kFormat.five_bits, R>(weights, x + 4 * r,
                                                                           numbers + 8 * R + 4 * r);
      const __m512 row_scale = _mm512_set1_ps(load_float(numbers + 4 * r));
      y[r] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot), _mm512_mul_ps(scale, row_scale), y[r]);
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
  switch (dtype) {
    case DType::kQ4_0:
      return block_of_rows<DType::kQ4_0>(rows);
    case DType::kQ4_1:
      return block_of_rows<DType::kQ4_1>(rows);
    case DType::kQ5_0:
      return block_of_rows<DType::kQ5_0>(rows);
    case DType::kQ5_1:
      return block_of_rows<DType::kQ5_1>(rows);
    case DType::kQ4_K:
      return block_of_rows<DType::kQ4_K>(rows);
    default:
      return block_of_rows<DType::kQ5_K>(rows);
  }
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
