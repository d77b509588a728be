// Stored weights -> panels of bf16: 32 outputs at a time, a block of 32 inputs of each output is
// turned into 16 pairs, and the pairs are transposed. To be included after a vector_*.h.
//
// Formats and the order of the arithmetic: tensor/dequantize.cc.
#pragma once

#include "kernels/kernel_table.h"
#include "kernels/panel.h"

namespace tutti::kernels {
namespace {

struct Block {
  Vector first, second;  // inputs 0..15 and 16..31
};

TUTTI_INLINE int byte_at(const std::byte* p, int i) { return static_cast<int>(p[i]); }
TUTTI_INLINE float half_at(const std::byte* p) {
  return half_to_float(byte_at(p, 0) | byte_at(p, 1) << 8);
}
TUTTI_INLINE Block scaled(Bytes first, Bytes second, float scale) {
  const Vector factor = broadcast(scale);
  return {mul(widen_bytes(first), factor), mul(widen_bytes(second), factor)};
}
TUTTI_INLINE Block scaled_plus(Bytes first, Bytes second, float scale, float offset) {
  const Block product = scaled(first, second, scale);
  return {add(product.first, broadcast(offset)), add(product.second, broadcast(offset))};
}
TUTTI_INLINE Block scaled_minus(Bytes first, Bytes second, float scale, float offset) {
  const Block product = scaled(first, second, scale);
  return {sub(product.first, broadcast(offset)), sub(product.second, broadcast(offset))};
}

// Each of the following reads block `index` (0..7) of 32 inputs, of the 256 inputs whose
// kEightBlocks bytes begin at `eight`.

struct FromF32 {
  static constexpr int kEightBlocks = 1024;
  TUTTI_INLINE static Block read(const std::byte* eight, int index) {
    const auto* values = reinterpret_cast<const float*>(eight) + 32 * index;
    return {load(values), load(values + 16)};
  }
};
struct FromF16 {
  static constexpr int kEightBlocks = 512;
  TUTTI_INLINE static Block read(const std::byte* eight, int index) {
    const std::byte* values = eight + 64 * index;
    return {widen_f16(values), widen_f16(values + 32)};
  }
};
struct FromBF16 {
  static constexpr int kEightBlocks = 512;
  TUTTI_INLINE static Block read(const std::byte* eight, int index) {
    const auto* values = reinterpret_cast<const std::uint16_t*>(eight) + 32 * index;
    return {widen_bf16(values), widen_bf16(values + 16)};
  }
};
struct FromQ8_0 {
  static constexpr int kEightBlocks = 272;
  TUTTI_INLINE static Block read(const std::byte* eight, int index) {
    const std::byte* block = eight + 34 * index;
    return scaled(load_bytes(block + 2), load_bytes(block + 18), half_at(block));
  }
};
struct FromQ4_0 {
  static constexpr int kEightBlocks = 144;
  TUTTI_INLINE static Block read(const std::byte* eight, int index) {
    const std::byte* block = eight + 18 * index;
    const Bytes packed = load_bytes(block + 2);
    const Bytes middle = splat_byte(8);
    return scaled(sub_bytes(low_nibbles(packed), middle), sub_bytes(high_nibbles(packed), middle),
                  half_at(block));
  }
};
struct FromQ4_1 {
  static constexpr int kEightBlocks = 160;
  TUTTI_INLINE static Block read(const std::byte* eight, int index) {
    const std::byte* block = eight + 20 * index;
    const Bytes packed = load_bytes(block + 4);
    return scaled_plus(low_nibbles(packed), high_nibbles(packed), half_at(block),
                       half_at(block + 2));
  }
};
struct FromQ5_0 {
  static constexpr int kEightBlocks = 176;
  TUTTI_INLINE static Block read(const std::byte* eight, int index) {
    const std::byte* block = eight + 22 * index;
    const Bytes packed = load_bytes(block + 6);
    const int low_bits = byte_at(block, 2) | byte_at(block, 3) << 8;
    const int high_bits = byte_at(block, 4) | byte_at(block, 5) << 8;
    const Bytes middle = splat_byte(16);
    const Bytes low = or_bytes(low_nibbles(packed), fifth_bits(low_bits));
    const Bytes high = or_bytes(high_nibbles(packed), fifth_bits(high_bits));
    return scaled(sub_bytes(low, middle), sub_bytes(high, middle), half_at(block));
  }
};
struct FromQ5_1 {
  static constexpr int kEightBlocks = 192;
  TUTTI_INLINE static Block read(const std::byte* eight, int index) {
    const std::byte* block = eight + 24 * index;
    const Bytes packed = load_bytes(block + 8);
    const int low_bits = byte_at(block, 4) | byte_at(block, 5) << 8;
    const int high_bits = byte_at(block, 6) | byte_at(block, 7) << 8;
    return scaled_plus(or_bytes(low_nibbles(packed), fifth_bits(low_bits)),
                       or_bytes(high_nibbles(packed), fifth_bits(high_bits)), half_at(block),
                       half_at(block + 2));
  }
};

struct ScaleAndMinimum {
  float scale, minimum;
};
// Of index `j` of a Q4_K or Q5_K superblock.
TUTTI_INLINE ScaleAndMinimum k_scale_and_minimum(const std::byte* block, int j) {
  const std::byte* packed = block + 4;
  int scale = byte_at(packed, j) & 63;
  int minimum = byte_at(packed, j + 4) & 63;
  if (j >= 4) {
    const int shared = byte_at(packed, j + 4);
    scale = (shared & 15) | (byte_at(packed, j - 4) >> 6) << 4;
    minimum = (shared >> 4) | (byte_at(packed, j) >> 6) << 4;
  }
  return {half_at(block) * static_cast<float>(scale),
          half_at(block + 2) * static_cast<float>(minimum)};
}
struct FromQ4_K {
  static constexpr int kEightBlocks = 144;
  TUTTI_INLINE static Block read(const std::byte* eight, int index) {
    const ScaleAndMinimum k = k_scale_and_minimum(eight, index);
    const std::byte* nibbles = eight + 16 + index / 2 * 32;
    const Bytes first = load_bytes(nibbles);
    const Bytes second = load_bytes(nibbles + 16);
    return index % 2 == 0
               ? scaled_minus(low_nibbles(first), low_nibbles(second), k.scale, k.minimum)
               : scaled_minus(high_nibbles(first), high_nibbles(second), k.scale, k.minimum);
  }
};
struct FromQ5_K {
  static constexpr int kEightBlocks = 176;
  TUTTI_INLINE static Bytes fifth(const std::byte* bytes, int index) {
    return sixteen_where_set(load_bytes(bytes), splat_byte(1 << index));
  }
  TUTTI_INLINE static Block read(const std::byte* eight, int index) {
    const ScaleAndMinimum k = k_scale_and_minimum(eight, index);
    const std::byte* nibbles = eight + 48 + index / 2 * 32;
    Bytes first = load_bytes(nibbles);
    Bytes second = load_bytes(nibbles + 16);
    first = index % 2 == 0 ? low_nibbles(first) : high_nibbles(first);
    second = index % 2 == 0 ? low_nibbles(second) : high_nibbles(second);
    return scaled_minus(or_bytes(first, fifth(eight + 16, index)),
                        or_bytes(second, fifth(eight + 32, index)), k.scale, k.minimum);
  }
};
struct FromQ6_K {
  static constexpr int kEightBlocks = 210;
  TUTTI_INLINE static Bytes upper_bits(const std::byte* bytes, int quarter) {
    return upper_bit_pairs(load_bytes(bytes), quarter);
  }
  TUTTI_INLINE static Block read(const std::byte* eight, int index) {
    const int half = index / 4;
    const int quarter = index % 4;
    const std::byte* low = eight + half * 64 + quarter % 2 * 32;
    const std::byte* high = eight + 128 + half * 32;
    const std::byte* scales = eight + 192 + half * 8 + quarter * 2;
    Bytes first = load_bytes(low);
    Bytes second = load_bytes(low + 16);
    first = quarter < 2 ? low_nibbles(first) : high_nibbles(first);
    second = quarter < 2 ? low_nibbles(second) : high_nibbles(second);
    const Bytes middle = splat_byte(32);
    first = sub_bytes(or_bytes(first, upper_bits(high, quarter)), middle);
    second = sub_bytes(or_bytes(second, upper_bits(high + 16, quarter)), middle);
    const float d = half_at(eight + 208);
    const float first_scale = d * static_cast<float>(static_cast<signed char>(byte_at(scales, 0)));
    const float second_scale = d * static_cast<float>(static_cast<signed char>(byte_at(scales, 1)));
    return {mul(widen_bytes(first), broadcast(first_scale)),
            mul(widen_bytes(second), broadcast(second_scale))};
  }
};

// The last, partial block of a row of a plain type, through a copy padded with zeros.
template <typename Type>
TUTTI_INLINE Block read_partial(const std::byte* eight, int index, int count) {
  constexpr int kValueBytes = Type::kEightBlocks / 256;
  alignas(64) std::byte copy[kBlockInputs * kValueBytes] = {};
  const std::byte* from = eight + index * kBlockInputs * kValueBytes;
  for (int i = 0; i < count * kValueBytes; ++i) copy[i] = from[i];
  return Type::read(copy, 0);
}

// Eight blocks of a row, or as many as `num_inputs` fill, as pairs of bf16: [8][32 outputs][16].
using EightBlocks = std::uint32_t[8][kPanelOutputs][16];

TUTTI_INLINE void store_pairs(EightBlocks& pairs, int block, int n, Block values) {
  auto* out = reinterpret_cast<std::uint16_t*>(pairs[block][n]);
  store_rounded(out, values.first);
  store_rounded(out + 16, values.second);
}

template <typename Type>
TUTTI_INLINE void read_row(const std::byte* eight, int num_inputs, int n, EightBlocks& pairs) {
  if (eight == nullptr) {
    for (int block = 0; block < 8; ++block) store_pairs(pairs, block, n, {zero(), zero()});
    return;
  }
  if (num_inputs == 256) {
// Unrolled, so that where a block's bits lie is known to the compiler.
#pragma GCC unroll 8
    for (int block = 0; block < 8; ++block) {
      store_pairs(pairs, block, n, Type::read(eight, block));
    }
    return;
  }
  for (int block = 0; block < num_blocks(num_inputs); ++block) {
    const int left = num_inputs - block * kBlockInputs;
    if constexpr (Type::kEightBlocks >= 512) {
      store_pairs(
          pairs, block, n,
          left < kBlockInputs ? read_partial<Type>(eight, block, left) : Type::read(eight, block));
    } else {
      store_pairs(pairs, block, n, Type::read(eight, block));
    }
  }
}

// Rows are read 256 inputs at a time, so that the bytes of each are a stream of some cache lines.
template <typename Type>
void convert(const PanelWeights& job) {
  alignas(64) EightBlocks pairs;
  for (int input = 0; input < job.num_inputs; input += 256) {
    const int count = job.num_inputs - input < 256 ? job.num_inputs - input : 256;
    const std::ptrdiff_t offset =
        static_cast<std::ptrdiff_t>((job.first_input + input) / 256) * Type::kEightBlocks;
    for (int n = 0; n < kPanelOutputs; ++n) {
      read_row<Type>(job.rows[n] == nullptr ? nullptr : job.rows[n] + offset, count, n, pairs);
    }
    for (int block = 0; block < num_blocks(count); ++block) {
      auto* panel = reinterpret_cast<std::uint32_t*>(
          job.panel + panel_values(input) + static_cast<std::ptrdiff_t>(block) * kPanelBlockValues);
      transpose_16x16(pairs[block][0], panel);
      transpose_16x16(pairs[block][16], panel + 16);
    }
  }
}

void weights_to_panel(const PanelWeights& job) {
  switch (job.dtype) {
    case DType::kF32:
      convert<FromF32>(job);
      break;
    case DType::kF16:
      convert<FromF16>(job);
      break;
    case DType::kBF16:
      convert<FromBF16>(job);
      break;
    case DType::kQ8_0:
      convert<FromQ8_0>(job);
      break;
    case DType::kQ4_0:
      convert<FromQ4_0>(job);
      break;
    case DType::kQ4_1:
      convert<FromQ4_1>(job);
      break;
    case DType::kQ5_0:
      convert<FromQ5_0>(job);
      break;
    case DType::kQ5_1:
      convert<FromQ5_1>(job);
      break;
    case DType::kQ4_K:
      convert<FromQ4_K>(job);
      break;
    case DType::kQ5_K:
      convert<FromQ5_K>(job);
      break;
    case DType::kQ6_K:
      convert<FromQ6_K>(job);
      break;
    default:
      break;  // no weight type: Matrix::of refused it
  }
}

}  // namespace
}  // namespace tutti::kernels
