// A weight matrix as an Ops holds it: panels of our own, of bf16 or of small integers, or the rows
// of the mapped file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"
#include "device/large_buffer.h"
#include "device/repack_cache.h"
#include "tensor/dtype.h"
#include "tensor/tensor_view.h"

namespace tutti::kernels {
struct QuantizedKernels;
}

namespace tutti::device {

// Thread safety: constant after construction.
class Matrix {
 public:
  // A view of the mapped rows. Errors: kInvalidArgument for a shape that is not [N, K] with
  // 0 < N, K < 2^31, or a row order that is not N row numbers; kUnsupported for a type that is no
  // weight type. Both name the tensor.
  static Result<Matrix> of(const TensorView& weight, std::span<const std::int32_t> row_order);

  int num_outputs() const { return num_outputs_; }
  int num_inputs() const { return num_inputs_; }
  DType dtype() const { return dtype_; }

  // The stored bytes of output `n`.
  const std::byte* row(int n) const {
    const int stored = row_order_.empty() ? n : row_order_[static_cast<std::size_t>(n)];
    return rows_ + static_cast<std::size_t>(stored) * row_bytes_;
  }

  // Whether the matrix is read where it is mapped: its rows, or panels out of a cache file.
  bool reads_file() const { return rows_ != nullptr || cached_.file != nullptr; }

  // Panels in place of rows (kernels/panel.h); row() must not be called any more.
  void set_panels(LargeBuffer panels);
  bool has_panels() const { return panels_.size() > 0 && quantized_ == nullptr; }
  const std::uint16_t* panel(int index) const {
    return panels_.as<std::uint16_t>() + panel_stride_ * index;
  }

  // As set_panels, in the layout of a class with small integers (kernels/quantized_kernels.h).
  void set_quantized(const kernels::QuantizedKernels& kernels, LargeBuffer panels);
  void set_quantized(const kernels::QuantizedKernels& kernels, CachedPanels panels);
  bool is_quantized() const { return quantized_ != nullptr; }
  const kernels::QuantizedKernels* quantized_kernels() const { return quantized_; }
  const std::byte* quantized_panel(int index) const {
    const std::byte* panels = cached_.file != nullptr ? cached_.bytes.data() : panels_.data();
    return panels + panel_stride_ * static_cast<std::size_t>(index);
  }
  // Output `n` of a quantised matrix as float32.
  void unpack_quantized_row(int n, float* row) const;

  std::size_t owned_bytes() const {
    return panels_.size() + row_order_.size() * sizeof(std::int32_t);
  }

 private:
  int num_outputs_ = 0;
  int num_inputs_ = 0;
  DType dtype_ = DType::kF32;
  const std::byte* rows_ = nullptr;
  std::size_t row_bytes_ = 0;
  std::vector<std::int32_t> row_order_;
  LargeBuffer panels_;
  std::size_t panel_stride_ = 0;  // bf16 values, or bytes of a quantised matrix
  const kernels::QuantizedKernels* quantized_ = nullptr;
  CachedPanels cached_;  // in place of panels_
};

// What a matrix of this weight takes for the order of its rows, if it has one.
inline std::size_t row_order_bytes(const TensorView& weight) {
  return static_cast<std::size_t>(weight.shape[0]) * sizeof(std::int32_t);
}

}  // namespace tutti::device
