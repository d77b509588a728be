#include "kernels/testing/random_data.h"

#include <cstring>

#include "tensor/half.h"

namespace tutti::kernels {
namespace {

void put_f16(std::byte* p, float value) {
  const std::uint16_t bits = f32_to_f16(value);
  std::memcpy(p, &bits, sizeof(bits));
}

// Where a quantised block keeps its scale, and its minimum's scale (-1: none), and how large a
// value the scale multiplies. Layouts: tensor/dequantize.cc.
struct ScaleFields {
  int scale;
  int minimum;
  float range;
};
ScaleFields scale_fields(DType dtype) {
  switch (dtype) {
    case DType::kQ8_0:
      return {0, -1, 128};
    case DType::kQ4_0:
      return {0, -1, 8};
    case DType::kQ4_1:
      return {0, 2, 16};
    case DType::kQ5_0:
      return {0, -1, 16};
    case DType::kQ5_1:
      return {0, 2, 32};
    case DType::kQ4_K:
      return {0, 2, 16 * 64};
    case DType::kQ5_K:
      return {0, 2, 32 * 64};
    case DType::kQ6_K:
      return {208, -1, 32 * 128};
    default:
      return {-1, -1, 1};
  }
}

}  // namespace

std::vector<float> random_floats(std::size_t count, std::mt19937& random, bool awkward) {
  std::normal_distribution<float> normal;
  std::uniform_real_distribution<float> exponent(-30.0f, 10.0f);
  std::vector<float> values(count);
  for (float& value : values) {
    value = normal(random);
    if (!awkward) continue;
    switch (random() % 32) {
      case 0:
        value = 0.0f;
        break;
      case 1:
        value = -0.0f;
        break;
      case 2:
        value *= 1e-39f;
        break;
      case 3:
        value *= std::pow(10.0f, exponent(random));
        break;
    }
  }
  return values;
}

std::vector<std::byte> random_weights(DType dtype, int num_rows, int row_length,
                                      std::mt19937& random) {
  const DTypeInfo& type = dtype_info(dtype);
  const std::size_t count = static_cast<std::size_t>(num_rows) * row_length;
  std::vector<std::byte> bytes(count / type.block_size * type.block_bytes);
  if (!is_quantized(dtype)) {
    const std::vector<float> values = random_floats(count, random);
    for (std::size_t i = 0; i < count; ++i) {
      std::byte* p = bytes.data() + i * type.block_bytes;
      const std::uint16_t half =
          dtype == DType::kF16 ? f32_to_f16(values[i]) : f32_to_bf16(values[i]);
      std::memcpy(p, dtype == DType::kF32 ? static_cast<const void*>(&values[i]) : &half,
                  static_cast<std::size_t>(type.block_bytes));
    }
    return bytes;
  }
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
  const ScaleFields fields = scale_fields(dtype);
  std::uniform_real_distribution<float> size(-1.0f, 1.0f);
  for (std::size_t block = 0; block < bytes.size(); block += type.block_bytes) {
    put_f16(bytes.data() + block + fields.scale, size(random) / fields.range);
    if (fields.minimum >= 0) put_f16(bytes.data() + block + fields.minimum, size(random) / 64);
  }
  return bytes;
}

}  // namespace tutti::kernels
