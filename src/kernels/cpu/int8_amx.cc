// The int8 class by AMX: TDPBSSD multiplies 16 outputs x 64 inputs with 64 inputs x 16 rows.
//
// Weights are the first operand (a tile's row is an output, so a look-up table serves 32 bytes of
// it), activations the second: [fours of inputs][16 rows][4]. Two halves of a panel and two parts
// of 16 rows make 2 x 2 tiles of sums: 4 loads and 4 multiplications for 64 inputs.
//
// Pipeline: a step is one superblock and up to 32 rows: 16 multiplications. While its tiles are
// multiplied, vector instructions turn the next superblock's weights into bytes (two tiles for each
// 64 inputs; one where several steps share them) and add the sums of the step before to c. So
// neither is a tile loaded right after the stores that made it, nor are sums read right after their
// tile was stored: both would wait for the stores to reach the cache.
//
// Bound: one multiplication in 16 cycles; for few rows the read of the weights. One and two rows
// are faster by dot products (int8_avx512.h).
//
// Compiled with flags of its own: nothing here may have external linkage but the table.
#include "kernels/cpu/amx_tile.h"
#include "kernels/cpu/vector_avx512.h"
// The products need the vocabulary above.
#include "kernels/cpu/int8_avx512.h"

namespace tutti::kernels {
namespace {

constexpr int kMaxDotRows = 2;
constexpr int kTileBytes = kTileRows * kTileRowBytes;
constexpr int kTilesOfSuperblock = 8;  // [4 quarters][2 halves]
constexpr int kPartSums = kTileRows * kPanelOutputs;

void configure_tiles() {
  TileConfig config;
  for (int tile = 0; tile < 8; ++tile) {
    config.row_bytes[tile] = kTileRowBytes;
    config.rows[tile] = kTileRows;
  }
  _tile_loadconfig(&config);
}

// Tile `index` of a superblock as bytes.
template <typename Record>
TUTTI_INLINE void dequantise_tile(const Record* records, int index, std::int8_t* bytes) {
  const int quarter = index / 2;
  const Record& record = records[index % 2];
  prefetch_weights(reinterpret_cast<const char*>(&record) + 576 * quarter);
  std::int8_t* tile = bytes + index * kTileBytes;
#pragma GCC unroll 8
  for (int pair = 0; pair < kRecordOutputs / 2; ++pair) {
    __m512i weights[2];
    weights_of_pair(record, kInt8Weights<Record::kBits>, pair, quarter, weights);
    _mm512_store_si512(tile + 2 * pair * kTileRowBytes, weights[0]);
    _mm512_store_si512(tile + (2 * pair + 1) * kTileRowBytes, weights[1]);
  }
}

// A step's sums, [half][part][16 outputs][16 rows], and what they are to be scaled with. A step of
// one part has the sums of part 0 only.
struct StepSums {
  const std::int32_t* sums = nullptr;
  const float* scales[2] = {};        // D of the halves
  const float* row_scales = nullptr;  // da, [parts][16]
  float* c = nullptr;                 // of the first part: [half][16 outputs][16 rows]
  int parts = 0;
};

// Adds tile `index` (0..2 * parts - 1) of a step to c.
TUTTI_INLINE void add_tile(const StepSums& step, int index) {
  const int half = index / step.parts;
  const int part = index % step.parts;
  const std::int32_t* sums = step.sums + (2 * half + part) * 256;
  const float* scales = step.scales[half];
  const __m512 row_scales = _mm512_loadu_ps(step.row_scales + kPartRows * part);
  float* c = step.c + part * kPartSums + half * 256;
#pragma GCC unroll 16
  for (int n = 0; n < kRecordOutputs; ++n) {
    const __m512 factor = _mm512_mul_ps(_mm512_set1_ps(scales[n]), row_scales);
    const __m512 sum = _mm512_cvtepi32_ps(_mm512_load_si512(sums + 16 * n));
    _mm512_store_ps(c + 16 * n, _mm512_fmadd_ps(factor, sum, _mm512_load_ps(c + 16 * n)));
  }
}

// Tiles 0..3: sums [half][part]; 4, 5: weights of the halves; 6, 7: activations of the parts.
template <int kParts>
TUTTI_INLINE void multiply_quarter(const std::int8_t* weights, const std::int8_t* x, int quarter) {
  const std::int8_t* tiles = weights + quarter * 2 * kTileBytes;
  const std::int8_t* inputs = x + quarter * kTileBytes;
  _tile_loadd(4, tiles, kTileRowBytes);
  _tile_loadd(6, inputs, kTileRowBytes);
  _tile_dpbssd(0, 4, 6);
  if constexpr (kParts == 2) {
    _tile_loadd(7, inputs + 4 * kTileBytes, kTileRowBytes);
    _tile_dpbssd(1, 4, 7);
  }
  _tile_loadd(5, tiles + kTileBytes, kTileRowBytes);
  _tile_dpbssd(2, 5, 6);
  if constexpr (kParts == 2) _tile_dpbssd(3, 5, 7);
}

// The tiles of the next superblock that are still to be made.
template <typename Record>
struct NextWeights {
  const Record* records;  // nullptr: there is no next superblock
  std::int8_t* bytes;
  int done = 0;
  int at_once = 2;

  TUTTI_INLINE void advance() {
    if (records == nullptr) return;
    for (int i = 0; i < at_once && done < kTilesOfSuperblock; ++i, ++done) {
      dequantise_tile(records, done, bytes);
    }
  }
};

template <int kParts, typename Record>
TUTTI_INLINE void multiply_step(const std::int8_t* weights, const std::int8_t* x,
                                std::int32_t* sums, NextWeights<Record>& next,
                                const StepSums& before) {
  _tile_zero(0);
  _tile_zero(2);
  if constexpr (kParts == 2) {
    _tile_zero(1);
    _tile_zero(3);
  }
#pragma GCC unroll 4
  for (int quarter = 0; quarter < 4; ++quarter) {
    multiply_quarter<kParts>(weights, x, quarter);
    next.advance();
    if (quarter < 2 * before.parts) add_tile(before, quarter);
  }
  _tile_stored(0, sums, kTileRowBytes);
  _tile_stored(2, sums + 512, kTileRowBytes);
  if constexpr (kParts == 2) {
    _tile_stored(1, sums + 256, kTileRowBytes);
    _tile_stored(3, sums + 768, kTileRowBytes);
  }
}

struct AmxInt8 : TiledPacking<kMaxDotRows, 0> {
  static const KernelTable& bf16() { return amx_kernels(); }

  template <typename Record>
  static void multiply(const Int8Panel& job) {
    const int tiled = tiled_rows(job);
    if (tiled > 0) multiply_tiles<Record>(job, (tiled + kPartRows - 1) / kPartRows);
    if (tiled < job.num_rows) {
      dot_part<Record>(job, job.first_row + tiled, job.num_rows - tiled);
    }
  }

  template <typename Record>
  static void multiply_tiles(const Int8Panel& job, int parts) {
    const Int8Rows& rows = *job.rows;
    const auto* records = reinterpret_cast<const Record*>(job.records);
    auto* bytes = reinterpret_cast<std::int8_t*>(job.scratch);
    auto* sums = reinterpret_cast<std::int32_t*>(bytes + 2 * kTilesOfSuperblock * kTileBytes);
    for (int p = 0; p < parts; ++p) rows_to_columns(job.c + kPartSums * p);
    configure_tiles();
    for (int i = 0; i < kTilesOfSuperblock; ++i) dequantise_tile(records, i, bytes);
    StepSums before;
    int step_index = 0;
    for (int block = 0; block < rows.num_superblocks; ++block, records += 2) {
      const std::int8_t* weights = bytes + block % 2 * kTilesOfSuperblock * kTileBytes;
      NextWeights<Record> next{block + 1 < rows.num_superblocks ? records + 2 : nullptr,
                               bytes + (block + 1) % 2 * kTilesOfSuperblock * kTileBytes};
      next.at_once = parts > 2 ? 1 : 2;
      for (int p = 0; p < parts; p += 2, ++step_index) {
        const int row = job.first_row + p * kPartRows;
        std::int32_t* step_sums = sums + step_index % 2 * 1024;
        const std::int8_t* x = rows.part(block, row);
        const int count = parts - p > 1 ? 2 : 1;
        if (count == 2) {
          multiply_step<2>(weights, x, step_sums, next, before);
        } else {
          multiply_step<1>(weights, x, step_sums, next, before);
        }
        before = {step_sums,
                  {records[0].scale, records[1].scale},
                  rows.scales + rows.scale_index(block, row),
                  job.c + kPartSums * p,
                  count};
      }
    }
    _tile_release();
    for (int i = 0; i < 2 * before.parts; ++i) add_tile(before, i);
    for (int p = 0; p < parts; ++p) columns_to_rows(job.c + kPartSums * p);
  }
};

}  // namespace

const QuantizedKernels& amx_int8_kernels() {
  static constexpr QuantizedKernels kKernels = make_int8_kernels<AmxInt8>();
  return kKernels;
}

}  // namespace tutti::kernels
