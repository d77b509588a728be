// What an instruction set implements of a class that keeps quantised weights as small integers and
// multiplies them with int8 activations: the classes q8 (q8_law.h) and int8 (int8_law.h). Each
// class has a table of its own; the device code (device/quantized_linear.h) is one for both.
//
// A matrix [N outputs, K inputs] becomes panels of `panel_outputs` rows, one after the other, in a
// layout that is the class's and the same for every instruction set: what one has packed another
// may multiply. N is padded to whole panels with rows of zeros.
//
// Thread safety: the functions are pure but for their outputs. Every thread that calls them has
// denormals flushed (float_mode.h).
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/kernel_table.h"
#include "tensor/dtype.h"

namespace tutti::kernels {

// Rows of a file -> one panel.
struct QuantizedWeights {
  DType dtype = DType::kQ4_0;
  const std::byte* const* rows = nullptr;  // [panel_outputs]; nullptr: a row of zeros
  int num_inputs = 0;
  std::byte* panel = nullptr;  // panel_bytes(dtype, num_inputs), aligned to 64
};

// y[m][n] = x[m] . panels[n] for outputs [0, num_outputs) of consecutive panels.
struct QuantizedProduct {
  DType dtype = DType::kQ4_0;
  const std::byte* panels = nullptr;  // of the first one, aligned to 64
  int num_panels = 0;
  int num_outputs = 0;  // in (panel_outputs * (num_panels - 1), panel_outputs * num_panels]
  const void* packed = nullptr;  // what pack_rows wrote for num_rows x num_inputs
  int num_rows = 0;              // 1..kMaxQuantizedRows
  int num_inputs = 0;
  float* y = nullptr;             // written, not added to; at the first panel's first output
  std::ptrdiff_t row_stride = 0;  // floats from a row of y to the next
  void* scratch = nullptr;        // scratch_bytes(num_rows, num_inputs), aligned to 64
};
inline constexpr int kMaxQuantizedRows = 512;

struct QuantizedKernels {
  int panel_outputs = 0;  // at most 64; the class's
  int row_block = 0;      // rows of activations that PackRows counts in
  int pack_inputs = 0;    // what PackRows's inputs may be cut at; 0: they may not

  // Whether the class keeps weights of this type; others go the bf16 way.
  bool (*takes)(DType dtype) = nullptr;
  // A multiple of 64. `num_inputs` is a whole number of the type's blocks.
  std::size_t (*panel_bytes)(DType dtype, int num_inputs) = nullptr;
  void (*pack_weights)(const QuantizedWeights&) = nullptr;
  // Output `n` of a panel: what the file's type says as near as the panel keeps it, before any
  // rounding of the class that multiply does.
  void (*unpack_row)(DType dtype, const std::byte* panel, int n, int num_inputs,
                     float* row) = nullptr;

  // Activations, quantised. Bytes of `num_rows` rows, and the rows (PackRows::packed is aligned to
  // 64); the layout is the instruction set's own.
  std::size_t (*packed_bytes)(int num_rows, int num_inputs) = nullptr;
  void (*pack_rows)(const PackRows&) = nullptr;

  // Of one thread, for `multiply`.
  std::size_t (*scratch_bytes)(int num_rows, int num_inputs) = nullptr;
  void (*multiply)(const QuantizedProduct&) = nullptr;
};

}  // namespace tutti::kernels
