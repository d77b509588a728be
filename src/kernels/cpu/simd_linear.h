// Products of packed rows and panels by fused multiply-add (the law of the sum: panel.h).
//
// Packed rows are floats that are bf16 values, so one broadcast load gives a row's input.
//
// Bound: fused multiply-adds. Even and odd inputs are summed one after the other, so that all
// registers hold sums: with 12 rows x 32 outputs in 24 registers, an input costs 24 multiply-adds
// beside 2 loads and 2 integer operations for the weights, and 12 broadcasts.
//
// To be included after a vector_*.h, with these defined by the including file:
//   kRowBlock, TUTTI_ROW_BLOCK   rows that one kernel holds sums of
//   kMaxSums                     vectors of sums that fit in registers
#pragma once

#include "kernels/cpu/prefetch_stream.h"
#include "kernels/kernel_table.h"
#include "kernels/panel.h"

namespace tutti::kernels {
namespace {

using PackedInput = float;
TUTTI_INLINE void store_packed(PackedInput* packed, Vector x) { store(packed, rounded(x)); }

}  // namespace
}  // namespace tutti::kernels

#include "kernels/cpu/simd_pack.h"

namespace tutti::kernels {
namespace {

// The sum over the even (kFirst 0) or the odd (1) inputs of one block, for R rows and 16 * T
// outputs.
template <int R, int T, int kFirst>
TUTTI_INLINE void sum_of_kind(const float* x, const std::uint16_t* panel, Vector (&sums)[R][T],
                              PrefetchStream* stream) {
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 2
    for (int t = 0; t < T; ++t) sums[r][t] = zero();
  }
#pragma GCC unroll 1
  for (int pair = 0; pair < kBlockInputs / 2; ++pair) {
    if (stream != nullptr) stream->step();
    Vector weights[T];
#pragma GCC unroll 2
    for (int t = 0; t < T; ++t) {
      weights[t] = kFirst == 0 ? even_of_pairs(panel + 32 * t) : odd_of_pairs(panel + 32 * t);
    }
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const Vector input = broadcast(x[kBlockInputs * r + kFirst]);
#pragma GCC unroll 2
      for (int t = 0; t < T; ++t) sums[r][t] = fma(input, weights[t], sums[r][t]);
    }
    x += 2;
    panel += 2 * kPanelOutputs;
  }
}

// even + odd of one block of inputs, added to c.
template <int R, int T>
TUTTI_INLINE void add_block(const float* x, const std::uint16_t* panel, float* c,
                            PrefetchStream* stream) {
  Vector even[R][T], odd[R][T];
  sum_of_kind<R, T, 0>(x, panel, even, stream);
  sum_of_kind<R, T, 1>(x, panel, odd, stream);
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 2
    for (int t = 0; t < T; ++t) {
      float* sum = c + r * kPanelOutputs + 16 * t;
      store(sum, add(load(sum), add(even[r][t], odd[r][t])));
    }
  }
}

template <int R>
void multiply_rows(const PanelProduct& job, const std::uint16_t* panel, const float* x, float* c,
                   PrefetchStream& stream) {
  constexpr int kHalves = 2 * R <= kMaxSums ? 2 : 1;
  for (int block = 0; block < job.num_blocks; ++block) {
    add_block<R, kHalves>(x, panel, c, &stream);
    if constexpr (kHalves == 1) add_block<R, 1>(x, panel + 32, c + 16, nullptr);
    x += kBlockInputs * R;
    panel += kPanelBlockValues;
  }
}

using MultiplyRows = void (*)(const PanelProduct&, const std::uint16_t*, const float*, float*,
                              PrefetchStream&);
// By number of rows, from 1.
constexpr MultiplyRows kMultiplyRows[] = {
    multiply_rows<1>,  multiply_rows<2>,  multiply_rows<3>,
    multiply_rows<4>,  multiply_rows<5>,  multiply_rows<6>,
#if TUTTI_ROW_BLOCK > 6
    multiply_rows<7>,  multiply_rows<8>,  multiply_rows<9>,
    multiply_rows<10>, multiply_rows<11>, multiply_rows<12>,
#endif
};
static_assert(sizeof(kMultiplyRows) / sizeof(kMultiplyRows[0]) == kRowBlock);

void multiply(const PanelProduct& job) {
  const int row_blocks = (job.num_rows + kRowBlock - 1) / kRowBlock;
  PrefetchStream stream(
      job, static_cast<std::size_t>(job.num_panels) * row_blocks * job.num_blocks * kBlockInputs);
  const std::ptrdiff_t row_values = static_cast<std::ptrdiff_t>(job.total_blocks) * kBlockInputs;
  const std::ptrdiff_t first_input = static_cast<std::ptrdiff_t>(job.first_block) * kBlockInputs;
  for (int panel = 0; panel < job.num_panels; ++panel) {
    for (int row = 0; row < job.num_rows; row += kRowBlock) {
      const int left = job.num_rows - row;
      const int rows = left < kRowBlock ? left : kRowBlock;
      const float* x =
          static_cast<const float*>(job.packed) + row * row_values + first_input * rows;
      float* c = job.c + panel * job.c_stride + static_cast<std::ptrdiff_t>(row) * kPanelOutputs;
      kMultiplyRows[rows - 1](job, job.panel + panel * job.panel_stride, x, c, stream);
    }
  }
}

}  // namespace
}  // namespace tutti::kernels
