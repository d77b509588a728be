// How the kernels of the bf16 class see a weight matrix, and the bounds of their inputs.
//
// Layout. A matrix [N outputs, K inputs] is cut into panels of 32 outputs; N and K are padded to
// multiples of 32 with zeros. A panel is [K / 2][32 outputs][2] bf16: 128 bytes hold two
// consecutive inputs of 32 outputs. The pair of one output is a 32-bit lane (even input in the low
// half), which is what TDPBF16PS wants of its second operand, and which a shift and a mask turn
// into two f32 vectors. A page of keys is one panel (32 positions are its outputs, the head's
// dimensions its inputs); a page of values is head_dim / 32 panels of one block of 32 inputs.
//
// Law of the sum, the same for every instruction set, number of rows, and blocking. For each row
// and output, c starts at +0 (or at what it holds), and for every block of 32 inputs, in order:
//   even = 0; for k = 0, 2, .. 30: even = fma(x[k], w[k], even)
//   odd  = 0; for k = 1, 3, .. 31: odd  = fma(x[k], w[k], odd)
//   c = c + (even + odd)
// all in f32, rounded to nearest even, denormal inputs and results taken as zero. That is what one
// TDPBF16PS does to one element (Intel SDM volume 2, TDPBF16PS).
//
// Rounding to bf16: a denormal f32 becomes zero of its sign, everything else rounds to nearest
// even, NaN becomes a quiet NaN; what VCVTNEPS2BF16 does.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tutti::kernels {

inline constexpr int kPanelOutputs = 32;
inline constexpr int kBlockInputs = 32;
// bf16 values of one block of a panel: 2 KiB.
inline constexpr int kPanelBlockValues = kPanelOutputs * kBlockInputs;

constexpr int num_blocks(int num_inputs) { return (num_inputs + kBlockInputs - 1) / kBlockInputs; }
constexpr int num_panels(int num_outputs) {
  return (num_outputs + kPanelOutputs - 1) / kPanelOutputs;
}
constexpr std::size_t panel_values(int num_inputs) {
  return static_cast<std::size_t>(num_blocks(num_inputs)) * kPanelBlockValues;
}
// Where input `k` of output `n` (0..31) lies in its panel.
constexpr std::size_t panel_index(int n, int k) {
  return (static_cast<std::size_t>(k / 2) * kPanelOutputs + static_cast<std::size_t>(n)) * 2 +
         static_cast<std::size_t>(k % 2);
}

}  // namespace tutti::kernels
