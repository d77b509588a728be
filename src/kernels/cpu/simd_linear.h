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
TUTTI_INLINE void store_packed_normal(PackedInput* packed, Vector low, Vector high) {
  store(packed, rounded_normal(low));
  store(packed + 16, rounded_normal(high));
}

}  // namespace
}  // namespace tutti::kernels

#include "kernels/cpu/simd_pack.h"

namespace tutti::kernels {
namespace {

// A panel whose values are wanted for many rows is widened first: of each pair of inputs 32 floats
// of the even one, then 32 of the odd one, so that an input's weights are loads and nothing else.
using PreparedValue = float;
constexpr int kFewestPreparedRows = 2 * kRowBlock;

void prepare_panel(const std::uint16_t* panel, std::size_t count, PreparedValue* prepared) {
  for (std::size_t i = 0; i < count; i += 32) {
    PreparedValue* pair = prepared + i / 64 * 64 + i % 64 / 2;
    store(pair, even_of_pairs(panel + i));
    store(pair + kPanelOutputs, odd_of_pairs(panel + i));
  }
}
void prepare_bytes(const std::byte* panel, std::size_t count, PreparedValue* prepared) {
  for (std::size_t i = 0; i < count; i += 32) {
    PreparedValue* pair = prepared + i / 64 * 64 + i % 64 / 2;
    store(pair, even_of_byte_pairs(panel + i));
    store(pair + kPanelOutputs, odd_of_byte_pairs(panel + i));
  }
}

// Input kWhich of a pair for 16 outputs, the t-th such.
template <int kWhich>
TUTTI_INLINE Vector weights_at(const std::uint16_t* pair, int t) {
  return kWhich == 0 ? even_of_pairs(pair + 32 * t) : odd_of_pairs(pair + 32 * t);
}
template <int kWhich>
TUTTI_INLINE Vector weights_at(const float* pair, int t) {
  return load(pair + kPanelOutputs * kWhich + 16 * t);
}

// The sum over the even (kFirst 0) or the odd (1) inputs of one block, for R rows and 16 * T
// outputs from the `first_t`-th 16 on.
template <int R, int T, int kFirst, typename Weight>
TUTTI_INLINE void sum_of_kind(const float* x, const Weight* panel, int first_t,
                              Vector (&sums)[R][T], PrefetchStream* stream) {
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
    for (int t = 0; t < T; ++t) weights[t] = weights_at<kFirst>(panel, first_t + t);
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

// Rows of sums that a block is added to.
struct BlockSums {
  float* c;
  bool from_zero;
};

// even + odd of one block of inputs, added to the sums, for 16 * T outputs from the first_t-th 16.
template <int R, int T, typename Weight>
TUTTI_INLINE void add_block(const float* x, const Weight* panel, int first_t, BlockSums to,
                            PrefetchStream* stream) {
  Vector even[R][T], odd[R][T];
  sum_of_kind<R, T, 0>(x, panel, first_t, even, stream);
  sum_of_kind<R, T, 1>(x, panel, first_t, odd, stream);
  const auto add_to = [&](const auto& old_of) {
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 2
      for (int t = 0; t < T; ++t) {
        float* sum = to.c + r * kPanelOutputs + 16 * (first_t + t);
        store(sum, add(old_of(sum), add(even[r][t], odd[r][t])));
      }
    }
  };
  if (to.from_zero) {
    add_to([](const float*) { return zero(); });
  } else {
    add_to([](const float* sum) { return load(sum); });
  }
}

template <int R, typename Weight>
void multiply_rows(const PanelProduct& job, const Weight* panel, const float* x, float* c,
                   PrefetchStream& stream) {
  constexpr int kHalves = 2 * R <= kMaxSums ? 2 : 1;
  BlockSums to{c, job.from_zero};
  for (int block = 0; block < job.num_blocks; ++block) {
    add_block<R, kHalves>(x, panel, 0, to, &stream);
    if constexpr (kHalves == 1) add_block<R, 1>(x, panel, 1, to, nullptr);
    to.from_zero = false;
    x += kBlockInputs * R;
    panel += kPanelBlockValues;
  }
}

template <typename Weight>
using MultiplyRows = void (*)(const PanelProduct&, const Weight*, const float*, float*,
                              PrefetchStream&);
// By number of rows, from 1.
template <typename Weight>
constexpr MultiplyRows<Weight> kMultiplyRows[] = {
    multiply_rows<1, Weight>,  multiply_rows<2, Weight>,  multiply_rows<3, Weight>,
    multiply_rows<4, Weight>,  multiply_rows<5, Weight>,  multiply_rows<6, Weight>,
#if TUTTI_ROW_BLOCK > 6
    multiply_rows<7, Weight>,  multiply_rows<8, Weight>,  multiply_rows<9, Weight>,
    multiply_rows<10, Weight>, multiply_rows<11, Weight>, multiply_rows<12, Weight>,
#endif
};
static_assert(sizeof(kMultiplyRows<float>) / sizeof(MultiplyRows<float>) == kRowBlock);

template <typename Weight>
void multiply_panels(const PanelProduct& job, const Weight* first_panel) {
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
      kMultiplyRows<Weight>[rows - 1](job, first_panel + panel * job.panel_stride, x, c, stream);
    }
  }
}

void multiply(const PanelProduct& job) { multiply_panels(job, job.panel); }
// With `prepared` for the panel; strides and blocks count the same.
void multiply_prepared(const PanelProduct& job, const PreparedValue* prepared) {
  multiply_panels(job, prepared);
}

}  // namespace
}  // namespace tutti::kernels
