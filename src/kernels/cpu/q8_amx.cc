// The q8 class by AMX: one TDPBSSD multiplies a group of 32 inputs of 16 rows and 16 outputs; of
// Q6_K, whose halves of 16 inputs have scales of their own, a half.
//
// The law wants each group's sums apart, so a tile of sums lives for one multiplication: then its
// 16 rows are converted, scaled and added to y, which stays in 16 registers for a chunk of groups.
// Sums are read two groups after their tile was stored, and weights are unpacked a chunk ahead, so
// that nothing waits for a store to reach the cache.
//
// Packed rows: for each 16 rows (the last filled up with zeros) and group, int8 q[16][32],
// f32 scale[16], f32 scale * sum of q [16]. Up to kMostFewRows rows are those of AVX-512 VNNI.
//
// Bound: about 48 vector operations and 16 stores of a tile's rows, 25 cycles; for few rows the
// read of the weights.
//
// Compiled with flags of its own: nothing here may have external linkage but the table.
#include "kernels/cpu/amx_tile.h"
#include "kernels/cpu/vector_avx512.h"
// Quantising needs the vocabulary above.
#include "kernels/cpu/q8_quantize.h"
#include "kernels/q8_dispatch.h"

namespace tutti::kernels {
namespace {

constexpr int kRowBlock = 16;
// So many rows are faster by dot products.
constexpr int kMostFewRows = 4;
constexpr int kChunkGroups = 16;
constexpr int kRowTileBytes = kRowBlock * kQ8GroupInputs;
constexpr int kRowGroupBytes = kRowTileBytes + 2 * kRowBlock * 4;
constexpr int kWeightTileBytes = kQ8PanelOutputs * kQ8GroupInputs;
// Activations that are multiplied with every panel of a job before the next.
constexpr int kMostActivationBytes = 1 << 20;
constexpr int kNearBytes = 1536;
constexpr int kFarBytes = 8192;

constexpr int row_blocks(int num_rows) { return (num_rows + kRowBlock - 1) / kRowBlock; }

std::size_t packed_bytes(int num_rows, int num_inputs) {
  const std::size_t few = avx512vnni_q8_kernels().packed_bytes(num_rows, num_inputs);
  const std::size_t tiles = static_cast<std::size_t>(row_blocks(num_rows)) *
                            (num_inputs / kQ8GroupInputs) * kRowGroupBytes;
  return num_rows <= kMostFewRows ? few : tiles;
}

// Row `r` of a block, one group.
TUTTI_INLINE void pack_group(const float* x, int r, std::byte* block) {
  const QuantizedGroup group = quantized_group(x);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(block + r * kQ8GroupInputs), group.q);
  const auto [low, high] = sums_of(group.q).halves;
  const int sum = low.first + low.second + high.first + high.second;
  auto* numbers = reinterpret_cast<float*>(block + kRowTileBytes);
  numbers[r] = group.scale;
  numbers[kRowBlock + r] = group.scale * static_cast<float>(sum);
}

void pack_rows(const PackRows& job) {
  if (job.num_rows <= kMostFewRows) return avx512vnni_q8_kernels().pack_rows(job);
  const int groups = job.num_inputs / kQ8GroupInputs;
  const std::size_t block_bytes = static_cast<std::size_t>(groups) * kRowGroupBytes;
  const int first = job.first_input / kQ8GroupInputs;
  const int last = job.inputs_end() / kQ8GroupInputs;
  for (int b = job.first_row_block; b < job.last_row_block; ++b) {
    auto* block = static_cast<std::byte*>(job.packed) + block_bytes * b;
    __builtin_memset(block + static_cast<std::size_t>(first) * kRowGroupBytes, 0,
                     static_cast<std::size_t>(last - first) * kRowGroupBytes);
    const int left = job.num_rows - b * kRowBlock;
    for (int r = 0; r < (left < kRowBlock ? left : kRowBlock); ++r) {
      const float* x = job.x + (b * kRowBlock + r) * job.row_stride;
      for (int group = first; group < last; ++group) {
        pack_group(x + group * kQ8GroupInputs, r, block + group * kRowGroupBytes);
      }
    }
  }
}

// A chunk of groups of one panel, unpacked.
struct Chunk {
  std::int8_t weights[kChunkGroups][kWeightTileBytes];  // w - o, [8 fours of inputs][16][4]
  float scale[kChunkGroups][kQ8PanelOutputs];
  float minimum[kChunkGroups][kQ8PanelOutputs];
  float half_scales[kChunkGroups][2][kQ8PanelOutputs];  // of Q6_K
  // Of the last groups' tiles, or of both their halves' tiles.
  std::int32_t sums[4][2][kRowBlock * kQ8PanelOutputs];
};

std::size_t scratch_bytes(int num_rows, int) {
  return sizeof(Chunk) + sizeof(float) * kRowBlock * kQ8PanelOutputs *
                             static_cast<std::size_t>(row_blocks(num_rows));
}

TUTTI_INLINE void prefetch_tile(const std::byte* tile, int bytes) {
  for (int i = 0; i < bytes; i += 64) {
    asm volatile("prefetcht1 %0" : : "m"(reinterpret_cast<const char*>(tile)[kFarBytes + i]));
    asm volatile("prefetcht0 %0" : : "m"(reinterpret_cast<const char*>(tile)[kNearBytes + i]));
  }
}

TUTTI_INLINE Vector widen_unsigned(const std::byte* p) {
  alignas(64) std::int32_t words[16];
  for (int i = 0; i < 16; ++i) words[i] = std::to_integer<int>(p[i]);
  return to_float(load_integers(words));
}

TUTTI_INLINE Vector widen_signed(const std::byte* p) {
  return {_mm512_cvtepi32_ps(
      _mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))))};
}

// Vector j of the nibbles' upper bits, in place, of inputs 4 j and 16 + 4 j on.
template <int kBits>
TUTTI_INLINE void add_upper_bits(const std::byte* bits, int j, __m512i& low, __m512i& high) {
  const __m512i first = _mm512_loadu_si512(bits);
  if constexpr (kBits == 5) {
    const __m512i fifth = _mm512_set1_epi8(16);
    low = _mm512_or_si512(low, _mm512_and_si512(_mm512_slli_epi16(first, 4 - j), fifth));
    high = _mm512_or_si512(high, _mm512_and_si512(_mm512_srli_epi16(first, j), fifth));
  } else {
    const __m512i upper = _mm512_set1_epi8(0x30);
    const __m512i second = _mm512_loadu_si512(bits + 64);
    const auto in_place = [j, upper](__m512i pairs) {
      const __m512i moved =
          j <= 2 ? _mm512_slli_epi16(pairs, j <= 2 ? 4 - 2 * j : 0) : _mm512_srli_epi16(pairs, 2);
      return _mm512_and_si512(moved, upper);
    };
    low = _mm512_or_si512(low, in_place(first));
    high = _mm512_or_si512(high, in_place(second));
  }
}

template <DType kType>
TUTTI_INLINE void unpack_integers(const std::byte* tile, std::int8_t* weights) {
  constexpr Q8Format kFormat = q8_format(kType);
  if constexpr (kFormat.bits == 8) {
#pragma GCC unroll 8
    for (int t = 0; t < 8; ++t) {
      _mm512_store_si512(weights + 64 * t, _mm512_loadu_si512(tile + 64 * t));
    }
  } else {
    const __m512i nibble = _mm512_set1_epi8(15);
    const __m512i offset = _mm512_set1_epi8(kFormat.offset);
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
      const __m512i packed = _mm512_loadu_si512(tile + 64 * j);
      __m512i low = _mm512_and_si512(packed, nibble);
      __m512i high = _mm512_and_si512(_mm512_srli_epi16(packed, 4), nibble);
      if constexpr (kFormat.bits != 4) {
        add_upper_bits<kFormat.bits>(tile + kQ8NibbleBytes, j, low, high);
      }
      _mm512_store_si512(weights + 64 * j, _mm512_sub_epi8(low, offset));
      _mm512_store_si512(weights + 64 * (4 + j), _mm512_sub_epi8(high, offset));
    }
  }
}

template <DType kType>
TUTTI_INLINE void unpack_group(const std::byte* tile, const std::byte* header, int slot,
                               Chunk& chunk) {
  constexpr Q8Format kFormat = q8_format(kType);
  prefetch_tile(tile, kFormat.tile_bytes());
  unpack_integers<kType>(tile, chunk.weights[slot]);
  const std::byte* scales = tile + kFormat.integer_bytes();
  Vector scale = zero(), minimum = zero();
  if constexpr (kFormat.has_half_scales()) {
    scale = widen_f16(header);
    for (int s = 0; s < 2; ++s) {
      store(chunk.half_scales[slot][s], widen_signed(scales + 16 * s));
    }
  } else if constexpr (kFormat.has_superblocks) {
    scale = mul(widen_f16(header), widen_unsigned(scales));
    minimum = sub(broadcast(-0.0f), mul(widen_f16(header + 32), widen_unsigned(scales + 16)));
  } else {
    scale = widen_f16(scales);
    if constexpr (kFormat.has_minimum) minimum = widen_f16(scales + 32);
  }
  store(chunk.scale[slot], scale);
  store(chunk.minimum[slot], minimum);
}

// Tiles 0, 1: sums; 2, 3: rows; 4, 5: weights. Of groups of even and odd slots; or of the first and
// the second half of one.
void configure_tiles(int inputs) {
  TileConfig config;
  for (const int sums : {0, 1}) {
    config.rows[sums] = kRowBlock;
    config.row_bytes[sums] = 64;
    config.rows[2 + sums] = kRowBlock;
    config.row_bytes[2 + sums] = static_cast<std::uint16_t>(inputs);
    config.rows[4 + sums] = static_cast<std::uint8_t>(inputs / 4);
    config.row_bytes[4 + sums] = 64;
  }
  _tile_loadconfig(&config);
}

// The numbers of tiles are part of the instructions.
TUTTI_INLINE void multiply_even(const std::byte* x, const std::int8_t* weights,
                                std::int32_t* sums) {
  _tile_zero(0);
  _tile_loadd(2, x, kQ8GroupInputs);
  _tile_loadd(4, weights, 64);
  _tile_dpbssd(0, 2, 4);
  _tile_stored(0, sums, 64);
}
TUTTI_INLINE void multiply_odd(const std::byte* x, const std::int8_t* weights, std::int32_t* sums) {
  _tile_zero(1);
  _tile_loadd(3, x, kQ8GroupInputs);
  _tile_loadd(5, weights, 64);
  _tile_dpbssd(1, 3, 5);
  _tile_stored(1, sums, 64);
}

template <bool kHalves>
TUTTI_INLINE void multiply_group(const std::byte* x, int slot, Chunk& chunk) {
  auto& sums = chunk.sums[slot % 4];
  const std::int8_t* weights = chunk.weights[slot];
  if constexpr (kHalves) {
    multiply_even(x, weights, sums[0]);
    multiply_odd(x + kQ8HalfInputs, weights + kWeightTileBytes / 2, sums[1]);
  } else if (slot % 2 == 0) {
    multiply_even(x, weights, sums[0]);
  } else {
    multiply_odd(x, weights, sums[0]);
  }
}

template <DType kType>
TUTTI_INLINE void add_group(const std::byte* x, int slot, const Chunk& chunk, __m512 (&y)[16]) {
  constexpr Q8Format kFormat = q8_format(kType);
  const auto* numbers = reinterpret_cast<const float*>(x + kRowTileBytes);
  const auto& sums = chunk.sums[slot % 4];
  const __m512 scale = _mm512_load_ps(chunk.scale[slot]);
  const __m512 minimum = _mm512_load_ps(chunk.minimum[slot]);
#pragma GCC unroll 16
  for (int r = 0; r < kRowBlock; ++r) {
    __m512 dots = _mm512_cvtepi32_ps(_mm512_load_si512(sums[0] + 16 * r));
    if constexpr (kFormat.has_half_scales()) {
      // Integers below 2^24. Added to +0, so that a zero is +0.
      const __m512 upper = _mm512_cvtepi32_ps(_mm512_load_si512(sums[1] + 16 * r));
      dots = _mm512_fmadd_ps(dots, _mm512_load_ps(chunk.half_scales[slot][0]), _mm512_setzero_ps());
      dots = _mm512_fmadd_ps(upper, _mm512_load_ps(chunk.half_scales[slot][1]), dots);
    }
    const __m512 factor = _mm512_mul_ps(scale, _mm512_set1_ps(numbers[r]));
    y[r] = _mm512_fmadd_ps(dots, factor, y[r]);
    if constexpr (kFormat.has_minimum) {
      y[r] = _mm512_fmadd_ps(minimum, _mm512_set1_ps(numbers[kRowBlock + r]), y[r]);
    }
  }
}

// `groups` groups of one block of rows, added to y [16][16].
template <DType kType>
void multiply_chunk(const std::byte* x, int groups, Chunk& chunk, float* y) {
  constexpr int kBehind = 2;
  __m512 sums[kRowBlock];
#pragma GCC unroll 16
  for (int r = 0; r < kRowBlock; ++r) sums[r] = _mm512_load_ps(y + 16 * r);
  for (int slot = 0; slot < groups + kBehind; ++slot) {
    if (slot < groups) {
      multiply_group<q8_format(kType).has_half_scales()>(x + slot * kRowGroupBytes, slot, chunk);
    }
    if (slot < kBehind) continue;
    const int before = slot - kBehind;
    add_group<kType>(x + before * kRowGroupBytes, before, chunk, sums);
  }
#pragma GCC unroll 16
  for (int r = 0; r < kRowBlock; ++r) _mm512_store_ps(y + 16 * r, sums[r]);
}

struct RowBlocks {
  const std::byte* x;  // of the first block
  int count;
  int groups;
};

// y [blocks][16][16] of one panel.
template <DType kType>
void multiply_panel(const std::byte* panel, const RowBlocks& rows, Chunk& chunk, float* y) {
  constexpr Q8Format kFormat = q8_format(kType);
  const std::ptrdiff_t block_bytes = static_cast<std::ptrdiff_t>(rows.groups) * kRowGroupBytes;
  const std::byte* tile = panel;
  const std::byte* header = nullptr;
  for (int first = 0; first < rows.groups; first += kChunkGroups) {
    const int left = rows.groups - first;
    const int count = left < kChunkGroups ? left : kChunkGroups;
    for (int slot = 0; slot < count; ++slot, tile += kFormat.tile_bytes()) {
      if (kFormat.has_superblocks && (first + slot) % kQ8SuperblockGroups == 0) {
        header = tile;
        tile += kFormat.header_bytes();
      }
      unpack_group<kType>(tile, header, slot, chunk);
    }
    for (int block = 0; block < rows.count; ++block) {
      multiply_chunk<kType>(rows.x + block * block_bytes + first * kRowGroupBytes, count, chunk,
                            y + block * kRowBlock * kQ8PanelOutputs);
    }
  }
}

using MultiplyPanel = void (*)(const std::byte*, const RowBlocks&, Chunk&, float*);
// Blocks [first, first + count) of rows times all panels.
void multiply_blocks(const QuantizedProduct& job, int first, int count) {
  const int groups = job.num_inputs / kQ8GroupInputs;
  const std::size_t panel_bytes = q8_panel_bytes(job.dtype, job.num_inputs);
  const std::size_t block_bytes = static_cast<std::size_t>(groups) * kRowGroupBytes;
  const RowBlocks rows{static_cast<const std::byte*>(job.packed) + block_bytes * first, count,
                       groups};
  auto& chunk = *static_cast<Chunk*>(job.scratch);
  auto* y = reinterpret_cast<float*>(static_cast<std::byte*>(job.scratch) + sizeof(Chunk));
  const auto multiply_one = for_q8_type(job.dtype, []<DType kType>(TypeConstant<kType>) {
    return MultiplyPanel(multiply_panel<kType>);
  });
  for (int panel = 0; panel < job.num_panels; ++panel) {
    const int output = panel * kQ8PanelOutputs;
    __builtin_memset(y, 0, sizeof(float) * kRowBlock * kQ8PanelOutputs * count);
    multiply_one(job.panels + panel_bytes * panel, rows, chunk, y);
    const int first_row = first * kRowBlock;
    const int last_row = first_row + count * kRowBlock;
    for (int m = first_row; m < (last_row < job.num_rows ? last_row : job.num_rows); ++m) {
      const int outputs = job.num_outputs - output;
      store_first(job.y + m * job.row_stride + output, load(y + (m - first_row) * kQ8PanelOutputs),
                  outputs < kQ8PanelOutputs ? outputs : kQ8PanelOutputs);
    }
  }
}

void multiply(const QuantizedProduct& job) {
  if (job.num_rows <= kMostFewRows) return avx512vnni_q8_kernels().multiply(job);
  const int blocks = row_blocks(job.num_rows);
  const int fitting = kMostActivationBytes / (job.num_inputs / kQ8GroupInputs * kRowGroupBytes);
  const int at_once = fitting < 4 ? 4 : fitting;
  configure_tiles(q8_format(job.dtype).has_half_scales() ? kQ8HalfInputs : kQ8GroupInputs);
  for (int first = 0; first < blocks; first += at_once) {
    multiply_blocks(job, first, blocks - first < at_once ? blocks - first : at_once);
  }
  _tile_release();
}

}  // namespace

const QuantizedKernels& amx_q8_kernels() {
  static constexpr QuantizedKernels kTable = q8_table(kRowBlock, {.packed_bytes = packed_bytes,
                                                                  .pack_rows = pack_rows,
                                                                  .scratch_bytes = scratch_bytes,
                                                                  .multiply = multiply});
  return kTable;
}

}  // namespace tutti::kernels
