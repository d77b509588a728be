// The int8 class on 512-bit registers with VNNI and VBMI: what the AVX-512 and AMX tables share.
// To be included after vector_avx512.h.
//
// Few rows: VPDPBUSD of a row of weights + 128 (64 inputs, straight from the look-up table) with a
// row of activations; 128 times the sum of the activations is taken off. The bound is the read of
// the weights.
#pragma once

#include "kernels/cpu/simd_int8_pack.h"

namespace tutti::kernels {
namespace {

// Distances ahead of the reads, in bytes: into the second level, and into the first.
constexpr int kFarPrefetch = 4480;
constexpr int kNearPrefetch = 1152;

// Eight or nine lines of the weight stream. Assembler, because GCC 12 takes a function that only
// prefetches for one without effect.
TUTTI_INLINE void prefetch_weights(const void* p) {
  const auto* bytes = static_cast<const char*>(p);
#pragma GCC unroll 9
  for (int line = 0; line < 9; ++line) {
    asm volatile("prefetcht1 %0" : : "m"(bytes[kFarPrefetch + 64 * line]));
    asm volatile("prefetcht0 %0" : : "m"(bytes[kNearPrefetch + 64 * line]));
  }
}

TUTTI_INLINE __m128i load_table(const Int8Table<4>& table, std::int8_t code) {
  const auto& row = table.rows[static_cast<std::uint8_t>(code)];
  return _mm_load_si128(reinterpret_cast<const __m128i*>(row.data()));
}
TUTTI_INLINE __m256i load_table(const Int8Table<5>& table, std::int8_t code) {
  const auto& row = table.rows[static_cast<std::uint8_t>(code)];
  return _mm256_load_si256(reinterpret_cast<const __m256i*>(row.data()));
}

// 64 weights of one output, from their integers' low bits: one permutation in two tables side by
// side, of which the upper half of the bytes reads the second.
TUTTI_INLINE __m512i weights_of(const Int8Record4& record, const Int8Table<4>& table, int n,
                                int quarter, __m512i low_bits) {
  const std::int8_t* codes = record.codes[n] + 2 * quarter;
  const __m256i both = _mm256_inserti128_si256(_mm256_castsi128_si256(load_table(table, codes[0])),
                                               load_table(table, codes[1]), 1);
  const __m512i second = _mm512_inserti64x4(_mm512_setzero_si512(), _mm256_set1_epi8(16), 1);
  return _mm512_permutexvar_epi8(_mm512_or_si512(low_bits, second), _mm512_castsi256_si512(both));
}
TUTTI_INLINE __m512i weights_of(const Int8Record5& record, const Int8Table<5>& table, int n,
                                int quarter, __m512i low_bits) {
  const std::int8_t* codes = record.codes[n] + 2 * quarter;
  const __m512i both = _mm512_inserti64x4(_mm512_castsi256_si512(load_table(table, codes[0])),
                                          load_table(table, codes[1]), 1);
  const __m512i second = _mm512_inserti64x4(_mm512_setzero_si512(), _mm256_set1_epi8(32), 1);
  const __m512i index =
      _mm512_mask_add_epi8(low_bits, record.fifth_bits[n][quarter], low_bits, _mm512_set1_epi8(16));
  return _mm512_permutexvar_epi8(_mm512_or_si512(index, second), both);
}

// Outputs 2 pair and 2 pair + 1 in one quarter.
template <typename Record>
TUTTI_INLINE void weights_of_pair(const Record& record, const Int8Table<Record::kBits>& table,
                                  int pair, int quarter, __m512i* out) {
  const __m512i nibble = _mm512_set1_epi8(15);
  const __m512i both = _mm512_load_si512(record.quants[pair][quarter]);
  out[0] = weights_of(record, table, 2 * pair, quarter, _mm512_and_si512(both, nibble));
  out[1] = weights_of(record, table, 2 * pair + 1, quarter,
                      _mm512_and_si512(_mm512_srli_epi16(both, 4), nibble));
}

// Sums within 128-bit lanes: 32-bit place i of lane l is the sum of r[i]'s lane l.
TUTTI_INLINE __m512i sums_of_quad(const __m512i (&r)[4]) {
  const __m512i a =
      _mm512_add_epi32(_mm512_unpacklo_epi32(r[0], r[1]), _mm512_unpackhi_epi32(r[0], r[1]));
  const __m512i b =
      _mm512_add_epi32(_mm512_unpacklo_epi32(r[2], r[3]), _mm512_unpackhi_epi32(r[2], r[3]));
  return _mm512_add_epi32(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
}
// Place 4 i + j is the sum over lanes of place j of quads[i].
TUTTI_INLINE __m512i sums_of_quads(const __m512i (&quads)[4]) {
  const __m512i a = _mm512_add_epi32(_mm512_shuffle_i32x4(quads[0], quads[1], 0x88),
                                     _mm512_shuffle_i32x4(quads[0], quads[1], 0xdd));
  const __m512i b = _mm512_add_epi32(_mm512_shuffle_i32x4(quads[2], quads[3], 0x88),
                                     _mm512_shuffle_i32x4(quads[2], quads[3], 0xdd));
  return _mm512_add_epi32(_mm512_shuffle_i32x4(a, b, 0x88), _mm512_shuffle_i32x4(a, b, 0xdd));
}

struct RowsOfSuperblock {
  const std::int8_t* x8;            // rows of 256 bytes
  const float* scales;              // one a row
  const std::int32_t* corrections;  // one a row
};

// R rows times a record, added to c, whose rows are 32 apart.
template <int R, typename Record>
TUTTI_INLINE void dot_record(const Record& record, const RowsOfSuperblock& rows, float* c) {
  __m512i quads[R][4];
#pragma GCC unroll 4
  for (int quad = 0; quad < 4; ++quad) {
    prefetch_weights(reinterpret_cast<const char*>(&record) + 576 * quad);
    __m512i sums[R][4];
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
      for (int n = 0; n < 4; ++n) sums[r][n] = _mm512_setzero_si512();
    }
#pragma GCC unroll 4
    for (int quarter = 0; quarter < 4; ++quarter) {
      __m512i weights[4];
      weights_of_pair(record, kInt8WeightsPlus128<Record::kBits>, 2 * quad, quarter, weights);
      weights_of_pair(record, kInt8WeightsPlus128<Record::kBits>, 2 * quad + 1, quarter,
                      weights + 2);
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r) {
        const __m512i x =
            _mm512_loadu_si512(rows.x8 + r * kSuperblockInputs + quarter * kQuarterInputs);
#pragma GCC unroll 4
        for (int n = 0; n < 4; ++n) sums[r][n] = _mm512_dpbusd_epi32(sums[r][n], weights[n], x);
      }
    }
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) quads[r][quad] = sums_of_quad(sums[r]);
  }
  const __m512 scales = _mm512_load_ps(record.scale);
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r) {
    const __m512i sums =
        _mm512_sub_epi32(sums_of_quads(quads[r]), _mm512_set1_epi32(rows.corrections[r]));
    const __m512 factor = _mm512_mul_ps(scales, _mm512_set1_ps(rows.scales[r]));
    float* row = c + r * kPanelOutputs;
    _mm512_store_ps(row, _mm512_fmadd_ps(factor, _mm512_cvtepi32_ps(sums), _mm512_load_ps(row)));
  }
}

// R rows from `row`, all superblocks.
template <int R, typename Record>
void dot_rows(const Int8Panel& job, int row) {
  const auto* record = reinterpret_cast<const Record*>(job.records);
  float* c = job.c + std::ptrdiff_t{row - job.first_row} * kPanelOutputs;
  for (int block = 0; block < job.rows->num_superblocks; ++block, record += 2) {
    const std::ptrdiff_t index = job.rows->scale_index(block, row);
    const RowsOfSuperblock rows{job.rows->part(block, row), job.rows->scales + index,
                                job.rows->corrections + index};
    dot_record<R>(record[0], rows, c);
    dot_record<R>(record[1], rows, c + kRecordOutputs);
  }
}

// Rows [row, row + count), four at a time.
template <typename Record>
void dot_part(const Int8Panel& job, int row, int count) {
  for (; count >= 4; row += 4, count -= 4) dot_rows<4, Record>(job, row);
  if (count == 3) dot_rows<3, Record>(job, row);
  if (count == 2) dot_rows<2, Record>(job, row);
  if (count == 1) dot_rows<1, Record>(job, row);
}

// Sixteen rows of 256 bytes -> four tiles [16 fours of inputs][16 rows][4], with `flip` applied to
// every byte.
TUTTI_INLINE void store_tiles(const std::int8_t* rows, __m512i flip, std::int8_t* tiles) {
#pragma GCC unroll 1
  for (int quarter = 0; quarter < 4; ++quarter) {
    __m512i r[16];
#pragma GCC unroll 16
    for (int m = 0; m < 16; ++m) {
      r[m] = _mm512_load_si512(rows + m * kSuperblockInputs + quarter * kQuarterInputs);
    }
    transpose_lanes(r);
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) {
      _mm512_store_si512(tiles + quarter * 1024 + 64 * i, _mm512_xor_si512(r[i], flip));
    }
  }
}

// Sums of a part of 16 rows while tiles are multiplied: [2 halves][16 outputs][16 rows]. Here from
// and to [16 rows][32 outputs], in place.
TUTTI_INLINE void transpose_half(const float* in, int in_stride, float* out, int out_stride) {
  __m512i r[16];
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) r[i] = _mm512_loadu_si512(in + i * in_stride);
  transpose_lanes(r);
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) _mm512_storeu_si512(out + i * out_stride, r[i]);
}
inline void rows_to_columns(float* c) {
  alignas(64) float columns[512];
  transpose_half(c, kPanelOutputs, columns, 16);
  transpose_half(c + 16, kPanelOutputs, columns + 256, 16);
  __builtin_memcpy(c, columns, sizeof(columns));
}
inline void columns_to_rows(float* c) {
  alignas(64) float rows[512];
  transpose_half(c, 16, rows, kPanelOutputs);
  transpose_half(c + 256, 16, rows + 16, kPanelOutputs);
  __builtin_memcpy(c, rows, sizeof(rows));
}

// Parts as rows where few rows are in them, else as tiles.
template <int kMaxDotRows, int kFlip>
struct TiledPacking {
  static constexpr int kRowBlock = 48;  // of every bf16 table's a multiple
  static bool is_rows(int num_rows) { return num_rows <= kMaxDotRows; }
  static int last_part_rows(int num_rows) { return is_rows(num_rows) ? num_rows : kPartRows; }

  static void pack_part(const PackRows& job, const Int8Rows& rows, int row) {
    if (is_rows(job.num_rows - row)) {
      for (int block = 0; block < rows.num_superblocks; ++block) {
        pack_rows_of_superblock(job, rows, row, block, rows.part(block, row));
      }
      return;
    }
    alignas(64) std::int8_t x8[kPartRows * kSuperblockInputs] = {};
    for (int block = 0; block < rows.num_superblocks; ++block) {
      const int count = pack_rows_of_superblock(job, rows, row, block, x8);
      store_tiles(x8, _mm512_set1_epi8(static_cast<char>(kFlip)), rows.part(block, row));
      for (int m = count; m < kPartRows; ++m) {
        rows.scales[rows.scale_index(block, row + m)] = 0.0f;
      }
    }
  }

  // Rows of the job that are in tiles: from its first one, in whole parts but for the last.
  static int tiled_rows(const Int8Panel& job) {
    const int incomplete = job.num_rows % kPartRows;
    return is_rows(incomplete) ? job.num_rows - incomplete : job.num_rows;
  }
};

}  // namespace
}  // namespace tutti::kernels
