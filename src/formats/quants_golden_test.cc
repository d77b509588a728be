// Quantised blocks against goldens/quants: `raw` u8 [16, bytes of a row], `expected` f32
// [16, values of a row], made by the gguf package.
#include <fmt/format.h>

#include <gtest/gtest.h>

#include <bit>
#include <cstring>
#include <set>

#include "formats/safetensors.h"
#include "tensor/dequantize.h"
#include "tests/support/goldens.h"

namespace tutti::formats {
namespace {

std::vector<DType> quantized_weights() {
  std::vector<DType> types;
  for (int i = 0; i < kNumDTypes; ++i) {
    const auto dtype = static_cast<DType>(i);
    if (dtype_info(dtype).is_weight && is_quantized(dtype)) types.push_back(dtype);
  }
  return types;
}

class QuantsGolden : public ::testing::TestWithParam<DType> {};

TEST_P(QuantsGolden, BitsAreEqual) {
  const DType dtype = GetParam();
  const auto path =
      tutti::testing::golden_path(fmt::format("quants/{}.safetensors", to_string(dtype)));
  const auto file = SafetensorsFile::open(path);
  ASSERT_TRUE(file.ok()) << file.status().message();
  const TensorView* raw = file->find_tensor("raw");
  const TensorView* expected = file->find_tensor("expected");
  ASSERT_TRUE(raw != nullptr && expected != nullptr);
  ASSERT_EQ(raw->num_rows(), expected->num_rows());
  ASSERT_EQ(bytes_for(dtype, expected->row_length()), raw->row_length());

  TensorView quantized = *raw;
  quantized.dtype = dtype;
  quantized.shape = expected->shape;
  const auto values = dequantize(quantized);
  ASSERT_TRUE(values.ok()) << values.status().message();
  for (std::size_t i = 0; i < values->size(); ++i) {
    std::uint32_t bits = 0;
    std::memcpy(&bits, expected->bytes.data() + i * sizeof(bits), sizeof(bits));
    ASSERT_EQ(std::bit_cast<std::uint32_t>((*values)[i]), bits)
        << "value " << i << ": " << (*values)[i] << ", expected " << std::bit_cast<float>(bits);
  }
}

INSTANTIATE_TEST_SUITE_P(AllTypes, QuantsGolden, ::testing::ValuesIn(quantized_weights()),
                         [](const auto& info) { return std::string(to_string(info.param)); });

}  // namespace
}  // namespace tutti::formats
