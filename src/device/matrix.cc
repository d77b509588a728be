#include "device/matrix.h"

#include <fmt/format.h>

#include <limits>
#include <utility>

#include "device/ops.h"
#include "kernels/panel.h"
#include "kernels/quantized_kernels.h"

namespace tutti::device {

Result<Matrix> Matrix::of(const TensorView& weight, std::span<const std::int32_t> row_order) {
  constexpr std::int64_t kLargest = std::numeric_limits<std::int32_t>::max() / 2;
  if (!dtype_info(weight.dtype).is_weight) {
    return unsupported(
        fmt::format("{}: no kernel for weights of type {}", weight.name, to_string(weight.dtype)));
  }
  if (weight.shape.size() != 2 || weight.shape[0] < 1 || weight.shape[1] < 1 ||
      weight.shape[0] > kLargest || weight.shape[1] > kLargest) {
    return invalid_argument(
        weight.name, fmt::format("{}: a matrix has two extents from 1 to {}, not {}", weight.name,
                                 kLargest, shape_to_string(weight.shape)));
  }
  const std::optional<std::int64_t> row_bytes = bytes_for(weight.dtype, weight.shape[1]);
  if (!row_bytes ||
      static_cast<std::uint64_t>(*row_bytes) * weight.shape[0] > weight.bytes.size()) {
    return invalid_argument(
        weight.name,
        fmt::format("{}: {} bytes do not hold {} of {}", weight.name, weight.bytes.size(),
                    shape_to_string(weight.shape), to_string(weight.dtype)));
  }
  Matrix matrix;
  matrix.num_outputs_ = static_cast<int>(weight.shape[0]);
  matrix.num_inputs_ = static_cast<int>(weight.shape[1]);
  matrix.dtype_ = weight.dtype;
  matrix.rows_ = weight.bytes.data();
  matrix.row_bytes_ = static_cast<std::size_t>(*row_bytes);
  if (!row_order.empty()) {
    if (row_order.size() != static_cast<std::size_t>(matrix.num_outputs_)) {
      return invalid_argument(weight.name,
                              fmt::format("{}: a row order of {} rows for {}", weight.name,
                                          row_order.size(), matrix.num_outputs_));
    }
    for (const std::int32_t row : row_order) {
      if (row < 0 || row >= matrix.num_outputs_) {
        return invalid_argument(weight.name, fmt::format("{}: row {} in the row order of {} rows",
                                                         weight.name, row, matrix.num_outputs_));
      }
    }
    matrix.row_order_.assign(row_order.begin(), row_order.end());
  }
  return matrix;
}

void Matrix::set_panels(LargeBuffer panels) {
  panels_ = std::move(panels);
  panel_stride_ = kernels::panel_values(num_inputs_);
  rows_ = nullptr;
  row_order_ = {};
}

void Matrix::set_quantized(const kernels::QuantizedKernels& kernels, LargeBuffer panels) {
  panels_ = std::move(panels);
  panel_stride_ = kernels.panel_bytes(dtype_, num_inputs_);
  quantized_ = &kernels;
  rows_ = nullptr;
  row_order_ = {};
}

void Matrix::set_quantized(const kernels::QuantizedKernels& kernels, CachedPanels panels) {
  set_quantized(kernels, LargeBuffer());
  cached_ = std::move(panels);
}

void Matrix::unpack_quantized_row(int n, float* row) const {
  const int panel = n / quantized_->panel_outputs;
  quantized_->unpack_row(dtype_, quantized_panel(panel), n % quantized_->panel_outputs, num_inputs_,
                         row);
}

void MatrixDeleter::operator()(Matrix* matrix) const { delete matrix; }

}  // namespace tutti::device
