// Products of packed rows and panels by fused multiply-add (the law of the sum: panel.h).
// To be included after a vector_*.h, with these defined by the including file:
//   kRowBlock            rows that one kernel holds sums of
//   kPanelHalvesAtOnce   1 or 2: vectors of 16 outputs that it holds sums of, for each row
//
// Packed rows: for each block of R = kRowBlock rows (the last may have fewer), [inputs][R] floats
// that are bf16 values. So one broadcast load gives a row's input, and the reads of a kernel are
// one stream from each operand.
//
// Bound: fused multiply-adds. A kernel of 6 rows x 32 outputs does 24 of 16 lanes for each pair of
// inputs, beside 2 loads of weights, 12 broadcasts and 4 integer operations that widen the weights.
#pragma once

#include "kernels/cpu/prefetch_stream.h"
#include "kernels/kernel_table.h"
#include "kernels/panel.h"

namespace tutti::kernels {
namespace {

std::size_t packed_bytes(int num_rows, int num_inputs) {
  return static_cast<std::size_t>(num_rows) * num_blocks(num_inputs) * kBlockInputs * sizeof(float);
}

void pack_rows(const PackRows& job) {
  const int padded = num_blocks(job.num_inputs) * kBlockInputs;
  for (int block = job.first_row_block; block < job.last_row_block; ++block) {
    const int first_row = block * kRowBlock;
    const int left = job.num_rows - first_row;
    const int rows = left < kRowBlock ? left : kRowBlock;
    float* packed =
        static_cast<float*>(job.packed) + static_cast<std::ptrdiff_t>(first_row) * padded;
    for (int row = 0; row < rows; ++row) {
      const float* x = job.x + (first_row + row) * job.row_stride;
      for (int k = 0; k < padded; k += 16) {
        const int count = job.num_inputs - k;
        const Vector values = count >= 16 ? load(x + k) : load_first(x + k, count < 0 ? 0 : count);
        float* out = packed + static_cast<std::ptrdiff_t>(k) * rows + row;
        if (rows == 1) {
          store(out, rounded(values));
          continue;
        }
        alignas(64) float lanes[16];
        store(lanes, rounded(values));
        for (int i = 0; i < 16; ++i) out[i * rows] = lanes[i];
      }
    }
  }
}

// even + odd of one block of inputs, for R rows and 16 * T outputs, added to c.
template <int R, int T>
TUTTI_INLINE void add_block(const float* x, const std::uint16_t* panel, float* c) {
  Vector even[R][T], odd[R][T];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 2
    for (int t = 0; t < T; ++t) even[r][t] = odd[r][t] = zero();
  }
#pragma GCC unroll 1
  for (int pair = 0; pair < kBlockInputs / 2; ++pair) {
    Vector weights[T];
#pragma GCC unroll 2
    for (int t = 0; t < T; ++t) weights[t] = even_of_pairs(panel + 32 * t);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const Vector input = broadcast(x[r]);
#pragma GCC unroll 2
      for (int t = 0; t < T; ++t) even[r][t] = fma(input, weights[t], even[r][t]);
    }
#pragma GCC unroll 2
    for (int t = 0; t < T; ++t) weights[t] = odd_of_pairs(panel + 32 * t);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const Vector input = broadcast(x[R + r]);
#pragma GCC unroll 2
      for (int t = 0; t < T; ++t) odd[r][t] = fma(input, weights[t], odd[r][t]);
    }
    x += 2 * R;
    panel += 2 * kPanelOutputs;
  }
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
void multiply_rows(const PanelProduct& job, const float* x, float* c, PrefetchStream& stream) {
  constexpr int kHalves = R == 1 ? 2 : kPanelHalvesAtOnce;
  const std::uint16_t* panel = job.panel;
  for (int block = 0; block < job.num_blocks; ++block) {
    stream.fetch_for_block();
    for (int half = 0; half < 2; half += kHalves) {
      add_block<R, kHalves>(x, panel + 32 * half, c + 16 * half);
    }
    x += kBlockInputs * R;
    panel += kPanelBlockValues;
  }
}

void multiply(const PanelProduct& job) {
  const int row_blocks = (job.num_rows + kRowBlock - 1) / kRowBlock;
  PrefetchStream stream(job, static_cast<std::size_t>(row_blocks) * job.num_blocks);
  const std::ptrdiff_t row_values = static_cast<std::ptrdiff_t>(job.total_blocks) * kBlockInputs;
  const std::ptrdiff_t first_input = static_cast<std::ptrdiff_t>(job.first_block) * kBlockInputs;
  for (int row = 0; row < job.num_rows; row += kRowBlock) {
    const int left = job.num_rows - row;
    const int rows = left < kRowBlock ? left : kRowBlock;
    const float* x = static_cast<const float*>(job.packed) + row * row_values + first_input * rows;
    float* c = job.c + static_cast<std::ptrdiff_t>(row) * kPanelOutputs;
    switch (rows) {
      case 1:
        multiply_rows<1>(job, x, c, stream);
        break;
      case 2:
        multiply_rows<2>(job, x, c, stream);
        break;
      case 3:
        multiply_rows<3>(job, x, c, stream);
        break;
#if TUTTI_ROW_BLOCK > 3
      case 4:
        multiply_rows<4>(job, x, c, stream);
        break;
      case 5:
        multiply_rows<5>(job, x, c, stream);
        break;
      case 6:
        multiply_rows<6>(job, x, c, stream);
        break;
#endif
    }
  }
}

}  // namespace
}  // namespace tutti::kernels
