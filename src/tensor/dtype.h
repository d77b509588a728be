// The element types that files may hold: what they are called and how many bytes they take.
//
// A quantised type stores a row as blocks of `block_size` values; plain types have blocks of one.
// A block never crosses the end of a row. Layouts of the quantised blocks: dequantize.h.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace tutti {

enum class DType : std::uint8_t {
  kF32,
  kF16,
  kBF16,
  kF64,
  kI8,
  kI16,
  kI32,
  kI64,
  kU8,
  kU16,
  kU32,
  kU64,
  kBool,
  kF8_E4M3,
  kF8_E5M2,
  kF8_E8M0,
  kQ8_0,
  kQ4_0,
  kQ4_1,
  kQ5_0,
  kQ5_1,
  kQ4_K,
  kQ5_K,
  kQ6_K,
  // Known by name and size, so that a file with them can be inspected; not dequantised.
  kQ8_1,
  kQ2_K,
  kQ3_K,
  kQ8_K,
  kIQ2_XXS,
  kIQ2_XS,
  kIQ3_XXS,
  kIQ1_S,
  kIQ4_NL,
  kIQ3_S,
  kIQ2_S,
  kIQ4_XS,
  kIQ1_M,
  kTQ1_0,
  kTQ2_0,
  kMXFP4,
  kNVFP4,
  kQ1_0,
};
inline constexpr int kNumDTypes = static_cast<int>(DType::kQ1_0) + 1;

struct DTypeInfo {
  std::string_view name;  // as GGUF and safetensors spell it: "BF16", "Q4_K"
  int block_size;         // values in a block
  int block_bytes;        // bytes in a block
  bool is_weight;         // dequantize_row can read it: a model's weights may have it
};

// The table's row of a type.
const DTypeInfo& dtype_info(DType dtype);

inline std::string_view to_string(DType dtype) { return dtype_info(dtype).name; }

// A type with blocks of more than one value.
inline bool is_quantized(DType dtype) { return dtype_info(dtype).block_size > 1; }

// Bytes of a row of `num_values` values. nullopt when that is negative, no whole number of blocks,
// or more than an int64 can say.
std::optional<std::int64_t> bytes_for(DType dtype, std::int64_t num_values);

}  // namespace tutti
