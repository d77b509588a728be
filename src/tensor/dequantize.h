// Stored values to float32, in plain scalar code: what the kernels' own unpacking is tested
// against.
//
// Block layouts and the order of the arithmetic are ggml's (github.com/ggml-org/ggml,
// src/ggml-common.h and ggml-quants.c: dequantize_row_*), so that results are equal to it bit for
// bit: every product and difference is rounded to float32 in that order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"
#include "tensor/dtype.h"
#include "tensor/tensor_view.h"

namespace tutti {

// Reads `num_values` values from `src`, which holds bytes_for(dtype, num_values) bytes at any
// alignment, and writes them to `dst`. Only for types with is_weight, and a whole number of blocks;
// anything else is a bug (checked).
void dequantize_row(DType dtype, const std::byte* src, std::int64_t num_values, float* dst);

// The whole tensor as float32, row-major.
// Errors: kUnsupported naming tensor and type when !is_weight.
Result<std::vector<float>> dequantize(const TensorView& tensor);

}  // namespace tutti
