#include "tensor/dequantize.h"

#include <fmt/format.h>

#include <cstring>

#include "base/check.h"
#include "tensor/half.h"

namespace tutti {
namespace {

std::uint8_t byte_at(const std::byte* src, int index) {
  return std::to_integer<std::uint8_t>(src[index]);
}

std::int8_t signed_byte_at(const std::byte* src, int index) {
  return static_cast<std::int8_t>(byte_at(src, index));
}

template <typename T>
T load(const std::byte* src) {
  T value;
  std::memcpy(&value, src, sizeof(value));
  return value;
}

float load_f16(const std::byte* src) { return f16_to_f32(load<std::uint16_t>(src)); }

// Each of the following reads one block.

void dequantize_f32(const std::byte* src, float* dst) { *dst = load<float>(src); }
void dequantize_f16(const std::byte* src, float* dst) { *dst = load_f16(src); }
void dequantize_bf16(const std::byte* src, float* dst) {
  *dst = bf16_to_f32(load<std::uint16_t>(src));
}

// f16 d | int8 q[32];  value = q * d
void dequantize_q8_0(const std::byte* src, float* dst) {
  const float scale = load_f16(src);
  for (int i = 0; i < 32; ++i) dst[i] = static_cast<float>(signed_byte_at(src, 2 + i)) * scale;
}

// f16 d | 16 bytes of nibbles, low ones values 0..15, high ones 16..31;  value = (q - 8) * d
void dequantize_q4_0(const std::byte* src, float* dst) {
  const float scale = load_f16(src);
  for (int i = 0; i < 16; ++i) {
    const int packed = byte_at(src, 2 + i);
    dst[i] = static_cast<float>((packed & 15) - 8) * scale;
    dst[i + 16] = static_cast<float>((packed >> 4) - 8) * scale;
  }
}

// f16 d | f16 m | nibbles as in Q4_0;  value = q * d + m
void dequantize_q4_1(const std::byte* src, float* dst) {
  const float scale = load_f16(src);
  const float minimum = load_f16(src + 2);
  for (int i = 0; i < 16; ++i) {
    const int packed = byte_at(src, 4 + i);
    dst[i] = static_cast<float>(packed & 15) * scale + minimum;
    dst[i + 16] = static_cast<float>(packed >> 4) * scale + minimum;
  }
}

// f16 d | u32 fifth bits, bit i of value i | nibbles as in Q4_0;  value = (q - 16) * d
void dequantize_q5_0(const std::byte* src, float* dst) {
  const float scale = load_f16(src);
  const auto fifth_bits = load<std::uint32_t>(src + 2);
  for (int i = 0; i < 16; ++i) {
    const int packed = byte_at(src, 6 + i);
    const int low = (packed & 15) | static_cast<int>((fifth_bits >> i & 1) << 4);
    const int high = (packed >> 4) | static_cast<int>((fifth_bits >> (i + 16) & 1) << 4);
    dst[i] = static_cast<float>(low - 16) * scale;
    dst[i + 16] = static_cast<float>(high - 16) * scale;
  }
}

// f16 d | f16 m | u32 fifth bits | nibbles;  value = q * d + m
void dequantize_q5_1(const std::byte* src, float* dst) {
  const float scale = load_f16(src);
  const float minimum = load_f16(src + 2);
  const auto fifth_bits = load<std::uint32_t>(src + 4);
  for (int i = 0; i < 16; ++i) {
    const int packed = byte_at(src, 8 + i);
    const int low = (packed & 15) | static_cast<int>((fifth_bits >> i & 1) << 4);
    const int high = (packed >> 4) | static_cast<int>((fifth_bits >> (i + 16) & 1) << 4);
    dst[i] = static_cast<float>(low) * scale + minimum;
    dst[i + 16] = static_cast<float>(high) * scale + minimum;
  }
}

// The six-bit scale and minimum of group `j` of eight, from the 12 packed bytes of Q4_K and Q5_K:
// groups 0..3 have theirs in the low six bits of bytes 0..3 and 4..7; groups 4..7 have the low
// four bits in bytes 8..11 and the two top bits in the tops of the first eight bytes.
struct ScaleAndMinimum {
  int scale;
  int minimum;
};
ScaleAndMinimum k_scale_and_minimum(const std::byte* packed, int j) {
  if (j < 4) return {byte_at(packed, j) & 63, byte_at(packed, j + 4) & 63};
  const int shared = byte_at(packed, j + 4);
  return {(shared & 15) | (byte_at(packed, j - 4) >> 6) << 4,
          (shared >> 4) | (byte_at(packed, j) >> 6) << 4};
}

// f16 d | f16 dmin | 12 bytes of scales | 128 bytes of nibbles.
// 32 bytes hold two groups of 32 values: the low nibbles are the first, the high ones the second.
// value = (d * scale) * q - (dmin * minimum)
void dequantize_q4_k(const std::byte* src, float* dst) {
  const float d = load_f16(src);
  const float d_minimum = load_f16(src + 2);
  for (int group = 0; group < 8; ++group) {
    const ScaleAndMinimum packed = k_scale_and_minimum(src + 4, group);
    const float scale = d * static_cast<float>(packed.scale);
    const float minimum = d_minimum * static_cast<float>(packed.minimum);
    const std::byte* nibbles = src + 16 + group / 2 * 32;
    const int shift = group % 2 * 4;
    for (int i = 0; i < 32; ++i) {
      const int q = byte_at(nibbles, i) >> shift & 15;
      dst[group * 32 + i] = scale * static_cast<float>(q) - minimum;
    }
  }
}

// As Q4_K, with 32 bytes of fifth bits before the nibbles: bit g of byte i is value i of group g.
void dequantize_q5_k(const std::byte* src, float* dst) {
  const float d = load_f16(src);
  const float d_minimum = load_f16(src + 2);
  const std::byte* fifth_bits = src + 16;
  for (int group = 0; group < 8; ++group) {
    const ScaleAndMinimum packed = k_scale_and_minimum(src + 4, group);
    const float scale = d * static_cast<float>(packed.scale);
    const float minimum = d_minimum * static_cast<float>(packed.minimum);
    const std::byte* nibbles = src + 48 + group / 2 * 32;
    const int shift = group % 2 * 4;
    for (int i = 0; i < 32; ++i) {
      const int fifth = (byte_at(fifth_bits, i) >> group & 1) << 4;
      const int q = (byte_at(nibbles, i) >> shift & 15) | fifth;
      dst[group * 32 + i] = scale * static_cast<float>(q) - minimum;
    }
  }
}

// 128 bytes of low nibbles | 64 bytes of upper bit pairs | int8 scales[16] | f16 d.
// Each half of 128 values has 64 and 32 bytes of these: value i of its quarter k has its low bits
// in byte (k % 2) * 32 + i, nibble k / 2, and its upper two in byte i, pair k. A scale serves 16
// values.  value = d * scale * (q - 32)
void dequantize_q6_k(const std::byte* src, float* dst) {
  const float d = load_f16(src + 208);
  for (int half = 0; half < 2; ++half) {
    const std::byte* low = src + half * 64;
    const std::byte* high = src + 128 + half * 32;
    const std::byte* scales = src + 192 + half * 8;
    for (int quarter = 0; quarter < 4; ++quarter) {
      for (int i = 0; i < 32; ++i) {
        const int nibble = byte_at(low, quarter % 2 * 32 + i) >> (quarter / 2 * 4) & 15;
        const int pair = byte_at(high, i) >> (quarter * 2) & 3;
        const int q = (nibble | pair << 4) - 32;
        const auto scale = static_cast<float>(signed_byte_at(scales, quarter * 2 + i / 16));
        dst[half * 128 + quarter * 32 + i] = d * scale * static_cast<float>(q);
      }
    }
  }
}

using BlockFunction = void (*)(const std::byte*, float*);

BlockFunction block_function(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return dequantize_f32;
    case DType::kF16:
      return dequantize_f16;
    case DType::kBF16:
      return dequantize_bf16;
    case DType::kQ8_0:
      return dequantize_q8_0;
    case DType::kQ4_0:
      return dequantize_q4_0;
    case DType::kQ4_1:
      return dequantize_q4_1;
    case DType::kQ5_0:
      return dequantize_q5_0;
    case DType::kQ5_1:
      return dequantize_q5_1;
    case DType::kQ4_K:
      return dequantize_q4_k;
    case DType::kQ5_K:
      return dequantize_q5_k;
    case DType::kQ6_K:
      return dequantize_q6_k;
    default:
      return nullptr;
  }
}

}  // namespace

void dequantize_row(DType dtype, const std::byte* src, std::int64_t num_values, float* dst) {
  const BlockFunction dequantize_block = block_function(dtype);
  const DTypeInfo& info = dtype_info(dtype);
  TUTTI_CHECK(dequantize_block != nullptr) << info.name << " is not dequantised";
  TUTTI_CHECK(num_values >= 0 && num_values % info.block_size == 0)
      << num_values << " values of " << info.name;
  for (std::int64_t i = 0; i < num_values; i += info.block_size) {
    dequantize_block(src, dst + i);
    src += info.block_bytes;
  }
}

Result<std::vector<float>> dequantize(const TensorView& tensor) {
  if (!dtype_info(tensor.dtype).is_weight) {
    return unsupported(fmt::format("tensor {} has type {}, which is not supported yet", tensor.name,
                                   to_string(tensor.dtype)));
  }
  std::vector<float> values(static_cast<std::size_t>(tensor.num_values()));
  dequantize_row(tensor.dtype, tensor.bytes.data(), tensor.num_values(), values.data());
  return values;
}

}  // namespace tutti
