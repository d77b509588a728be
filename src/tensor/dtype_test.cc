#include "tensor/dtype.h"

#include <gtest/gtest.h>

#include <limits>
#include <set>

#include "tensor/dequantize.h"

namespace tutti {
namespace {

TEST(DType, NamesAreUnique) {
  std::set<std::string_view> names;
  for (int i = 0; i < kNumDTypes; ++i) names.insert(to_string(static_cast<DType>(i)));
  EXPECT_EQ(names.size(), static_cast<std::size_t>(kNumDTypes));
}

TEST(DType, BytesOfARow) {
  EXPECT_EQ(bytes_for(DType::kF32, 3), 12);
  EXPECT_EQ(bytes_for(DType::kQ4_0, 64), 36);
  EXPECT_EQ(bytes_for(DType::kQ6_K, 512), 420);
  EXPECT_EQ(bytes_for(DType::kQ4_K, 0), 0);
}

TEST(DType, BytesOfAnImpossibleRow) {
  EXPECT_EQ(bytes_for(DType::kQ4_K, 255), std::nullopt);
  EXPECT_EQ(bytes_for(DType::kF32, -1), std::nullopt);
  EXPECT_EQ(bytes_for(DType::kF32, std::numeric_limits<std::int64_t>::max()), std::nullopt);
  EXPECT_EQ(bytes_for(DType::kF64, std::int64_t{1} << 60), std::nullopt);
}

TEST(Dequantize, OtherTypesAreRefusedByName) {
  TensorView tensor;
  tensor.name = "blk.0.attn_q.weight";
  tensor.dtype = DType::kQ2_K;
  const auto values = dequantize(tensor);
  ASSERT_FALSE(values.ok());
  EXPECT_EQ(values.status().message(),
            "tensor blk.0.attn_q.weight has type Q2_K, which is not supported yet");
}

// A plain type at an odd address: views into files are not aligned.
TEST(Dequantize, PlainTypesAtAnyAlignment) {
  alignas(8) std::byte bytes[9] = {};
  bytes[3] = std::byte{0x80};  // bf16 and the top of f32 1.0 is 3f 80
  bytes[4] = std::byte{0x3f};
  float value = 0;
  dequantize_row(DType::kBF16, bytes + 3, 1, &value);
  EXPECT_EQ(value, 1.0f);
  dequantize_row(DType::kF32, bytes + 1, 1, &value);
  EXPECT_EQ(value, 1.0f);
  bytes[4] = std::byte{0x3c};  // f16 1.0 is 3c 00
  bytes[3] = std::byte{0x00};
  dequantize_row(DType::kF16, bytes + 3, 1, &value);
  EXPECT_EQ(value, 1.0f);
}

}  // namespace
}  // namespace tutti
