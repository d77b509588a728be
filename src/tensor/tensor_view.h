// A named array in somebody else's memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "tensor/dtype.h"

namespace tutti {

// `shape` is row-major, outermost first, whatever the file's own order: the weight of a linear
// layer is [N outputs, K inputs], an embedding [vocabulary, width]. Empty for a scalar.
// `bytes` lies in a mapped file, is as long as dtype and shape say (whoever made the view checked
// that), and is NOT aligned to the element's size: read it with memcpy or unaligned loads.
// Lifetime: that of the file object it came from.
struct TensorView {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<std::int64_t> shape;
  std::span<const std::byte> bytes;

  // Product of the shape; 1 for a scalar.
  std::int64_t num_values() const {
    std::int64_t product = 1;
    for (const std::int64_t extent : shape) product *= extent;
    return product;
  }
  // Values in a row: the innermost extent; 1 for a scalar.
  std::int64_t row_length() const { return shape.empty() ? 1 : shape.back(); }
  // num_values() / row_length(), 0 for an empty tensor.
  std::int64_t num_rows() const { return row_length() == 0 ? 0 : num_values() / row_length(); }
};

// "[4096, 11008]", for messages.
std::string shape_to_string(std::span<const std::int64_t> shape);

}  // namespace tutti
