// The int8 class by dot products of rows: a record's weights are turned into bytes, [16][256] in
// the first-level cache, and every row of activations is multiplied with four outputs at a time.
//
// To be included after a vector_*.h and with these defined before:
//   dequantise(const Record&, std::int8_t* out)   out is [16][256], aligned to 64
//   dot_quad<R>(const std::int8_t* w, const std::int8_t* x, std::int32_t (*sums)[16])
//                    sums[r][i] = w row i . x row r for 4 outputs and R rows, rows 256 bytes apart
//   kDotRows         rows that share the loads of the weights: even
#pragma once

#include <type_traits>

#include "kernels/cpu/simd_int8_pack.h"

namespace tutti::kernels {
namespace {

TUTTI_INLINE void add_scaled_sums(const std::int32_t* sums, const float* scales, float scale,
                                  float* c) {
  const Vector factor = mul(load(scales), broadcast(scale));
  store(c, fma(factor, to_float(load_integers(sums)), load(c)));
}

template <int R>
TUTTI_INLINE void multiply_rows_of_record(const std::int8_t* weights, const std::int8_t* x8,
                                          const float* scales, const float* row_scales, float* c) {
  alignas(64) std::int32_t sums[R][16];
  for (int n = 0; n < kRecordOutputs; n += 4) {
    std::int32_t(*quad)[16] = reinterpret_cast<std::int32_t(*)[16]>(&sums[0][n]);
    dot_quad<R>(weights + n * kSuperblockInputs, x8, quad);
  }
  for (int r = 0; r < R; ++r) {
    add_scaled_sums(sums[r], scales, row_scales[r], c + r * kPanelOutputs);
  }
}

struct RowsInt8 {
  static constexpr int kRowBlock = 48;  // of every bf16 table's a multiple
  static const KernelTable& bf16() { return bf16_table(); }
  static int last_part_rows(int num_rows) { return num_rows; }

  static void pack_part(const PackRows& job, const Int8Rows& rows, int row) {
    for (int block = 0; block < rows.num_superblocks; ++block) {
      pack_rows_of_superblock(job, rows, row, block, rows.part(block, row));
    }
  }

  template <typename Record>
  static void multiply(const Int8Panel& job) {
    const Int8Rows& rows = *job.rows;
    const auto* record = reinterpret_cast<const Record*>(job.records);
    auto* weights = reinterpret_cast<std::int8_t*>(job.scratch);
    for (int block = 0; block < rows.num_superblocks; ++block) {
      const std::int8_t* x8 = rows.part(block, job.first_row);
      const float* row_scales = rows.scales + rows.scale_index(block, job.first_row);
      for (int half = 0; half < 2; ++half, ++record) {
        dequantise(*record, weights);
        float* c = job.c + half * kRecordOutputs;
        const auto multiply_rows = [&]<int R>(std::integral_constant<int, R>, int m) {
          multiply_rows_of_record<R>(weights, x8 + m * kSuperblockInputs, record->scale,
                                     row_scales + m, c + m * kPanelOutputs);
        };
        int m = 0;
        for (; m + kDotRows <= job.num_rows; m += kDotRows) {
          multiply_rows(std::integral_constant<int, kDotRows>(), m);
        }
        for (; m + 2 <= job.num_rows; m += 2) {
          multiply_rows(std::integral_constant<int, 2>(), m);
        }
        if (m < job.num_rows) multiply_rows(std::integral_constant<int, 1>(), m);
      }
    }
  }
};

}  // namespace
}  // namespace tutti::kernels
