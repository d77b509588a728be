#include "tensor/dtype.h"

#include <fmt/format.h>

#include <array>
#include <span>
#include <string>

#include "base/check.h"
#include "tensor/tensor_view.h"

namespace tutti {
namespace {

struct Row {
  DType dtype;
  DTypeInfo info;
};

// In the order of the enum, which the static_assert below holds.
constexpr std::array<Row, kNumDTypes> kTable = {{
    {DType::kF32, {"F32", 1, 4, true}},
    {DType::kF16, {"F16", 1, 2, true}},
    {DType::kBF16, {"BF16", 1, 2, true}},
    {DType::kF64, {"F64", 1, 8, false}},
    {DType::kI8, {"I8", 1, 1, false}},
    {DType::kI16, {"I16", 1, 2, false}},
    {DType::kI32, {"I32", 1, 4, false}},
    {DType::kI64, {"I64", 1, 8, false}},
    {DType::kU8, {"U8", 1, 1, false}},
    {DType::kU16, {"U16", 1, 2, false}},
    {DType::kU32, {"U32", 1, 4, false}},
    {DType::kU64, {"U64", 1, 8, false}},
    {DType::kBool, {"BOOL", 1, 1, false}},
    {DType::kF8_E4M3, {"F8_E4M3", 1, 1, false}},
    {DType::kF8_E5M2, {"F8_E5M2", 1, 1, false}},
    {DType::kF8_E8M0, {"F8_E8M0", 1, 1, false}},
    {DType::kQ8_0, {"Q8_0", 32, 34, true}},
    {DType::kQ4_0, {"Q4_0", 32, 18, true}},
    {DType::kQ4_1, {"Q4_1", 32, 20, true}},
    {DType::kQ5_0, {"Q5_0", 32, 22, true}},
    {DType::kQ5_1, {"Q5_1", 32, 24, true}},
    {DType::kQ4_K, {"Q4_K", 256, 144, true}},
    {DType::kQ5_K, {"Q5_K", 256, 176, true}},
    {DType::kQ6_K, {"Q6_K", 256, 210, true}},
    {DType::kQ8_1, {"Q8_1", 32, 36, false}},
    {DType::kQ2_K, {"Q2_K", 256, 84, false}},
    {DType::kQ3_K, {"Q3_K", 256, 110, false}},
    {DType::kQ8_K, {"Q8_K", 256, 292, false}},
    {DType::kIQ2_XXS, {"IQ2_XXS", 256, 66, false}},
    {DType::kIQ2_XS, {"IQ2_XS", 256, 74, false}},
    {DType::kIQ3_XXS, {"IQ3_XXS", 256, 98, false}},
    {DType::kIQ1_S, {"IQ1_S", 256, 50, false}},
    {DType::kIQ4_NL, {"IQ4_NL", 32, 18, false}},
    {DType::kIQ3_S, {"IQ3_S", 256, 110, false}},
    {DType::kIQ2_S, {"IQ2_S", 256, 82, false}},
    {DType::kIQ4_XS, {"IQ4_XS", 256, 136, false}},
    {DType::kIQ1_M, {"IQ1_M", 256, 56, false}},
    {DType::kTQ1_0, {"TQ1_0", 256, 54, false}},
    {DType::kTQ2_0, {"TQ2_0", 256, 66, false}},
    {DType::kMXFP4, {"MXFP4", 32, 17, false}},
    {DType::kNVFP4, {"NVFP4", 64, 36, false}},
    {DType::kQ1_0, {"Q1_0", 128, 18, false}},
}};

constexpr bool table_is_in_order() {
  for (int i = 0; i < kNumDTypes; ++i) {
    if (static_cast<int>(kTable[static_cast<std::size_t>(i)].dtype) != i) return false;
  }
  return true;
}
static_assert(table_is_in_order());

}  // namespace

const DTypeInfo& dtype_info(DType dtype) {
  const auto index = static_cast<std::size_t>(dtype);
  TUTTI_CHECK(index < kTable.size()) << "DType " << index;
  return kTable[index].info;
}

std::optional<std::int64_t> bytes_for(DType dtype, std::int64_t num_values) {
  const DTypeInfo& info = dtype_info(dtype);
  if (num_values < 0 || num_values % info.block_size != 0) return std::nullopt;
  std::int64_t bytes = 0;
  if (__builtin_mul_overflow(num_values / info.block_size, std::int64_t{info.block_bytes},
                             &bytes)) {
    return std::nullopt;
  }
  return bytes;
}

std::string shape_to_string(std::span<const std::int64_t> shape) {
  std::string text = "[";
  for (std::size_t i = 0; i < shape.size(); ++i) {
    text += fmt::format("{}{}", i == 0 ? "" : ", ", shape[i]);
  }
  return text + "]";
}

}  // namespace tutti
