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

TUTTI_INLINE __m128i load_bytes(const std::byte* p) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
}
TUTTI_INLINE int byte_at(const std::byte* p, int i) { return static_cast<int>(p[i]); }
TUTTI_INLINE float half_at(const std::byte* p) {
  const int bits = byte_at(p, 0) | byte_at(p, 1) << 8;
  return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(bits)));
}
TUTTI_INLINE __m128i low_nibbles(__m128i bytes) { return _mm_and_si128(bytes, _mm_set1_epi8(15)); }
TUTTI_INLINE __m128i high_nibbles(__m128i bytes) {
  return _mm_and_si128(_mm_srli_epi16(bytes, 4), _mm_set1_epi8(15));
}
// 16 in each byte whose bit of `bits` (of 16) is set.
TUTTI_INLINE __m128i fifth_bits(int bits) {
  const __m128i spread = _mm_shuffle_epi8(
      _mm_cvtsi32_si128(bits), _mm_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1));
  const __m128i bit = _mm_set1_epi64x(static_cast<long long>(0x8040201008040201ull));
  const __m128i is_set = _mm_cmpeq_epi8(_mm_and_si128(spread, bit), bit);
  return _mm_and_si128(is_set, _mm_set1_epi8(16));
}
TUTTI_INLINE Block scaled(__m128i first, __m128i second, float scale) {
  const Vector factor = broadcast(scale);
  return {mul(widen_bytes(first), factor), mul(widen_bytes(second), factor)};
}
TUTTI_INLINE Block scaled_plus(__m128i first, __m128i second, float scale, float offset) {
  const Block product = scaled(first, second, scale);
  return {add(product.first, broadcast(offset)), add(product.second, broadcast(offset))};
}
TUTTI_INLINE Block scaled_minus(__m128i first, __m128i second, float scale, float offset) {
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
    const __m128i packed = load_bytes(block + 2);
    const __m128i middle = _mm_set1_epi8(8);
    return scaled(_mm_sub_epi8(low_nibbles(packed), middle),
                  _mm_sub_epi8(high_nibbles(packed), middle), half_at(block));
  }
};
struct FromQ4_1 {
  static constexpr int kEightBlocks = 160;
  TUTTI_INLINE static Block read(const std::byte* eight, int index) {
    const std::byte* block = eight + 20 * index;
    const __m128i packed = load_bytes(block + 4);
    return scaled_plus(low_nibbles(packed), high_nibbles(packed), half_at(block),
                       half_at(block + 2));
  }
};
struct FromQ5_0 {
  static constexpr int kEightBlocks = 176;
  TUTTI_INLINE static Block read(const std::byte* eight, int index) {
    const std::byte* block = eight + 22 * index;
    const __m128i packed = load_bytes(block + 6);
    const int low_bits = byte_at(block, 2) | byte_at(block, 3) << 8;
    const int high_bits = byte_at(block, 4) | byte_at(block, 5) << 8;
    const __m128i middle = _mm_set1_epi8(16);
    const __m128i low = _mm_or_si128(low_nibbles(packed), fifth_bits(low_bits));
    const __m128i high = _mm_or_si128(high_nibbles(packed), fifth_bits(high_bits));
    return scaled(_mm_sub_epi8(low, middle), _mm_sub_epi8(high, middle), half_at(block));
  }
};
struct FromQ5_1 {
  static constexpr int kEightBlocks = 192;
  TUTTI_INLINE static Block read(const std::byte* eight, int index) {
    const std::byte* block = eight + 24 * index;
    const __m128i packed = load_bytes(block + 8);
    const int low_bits = byte_at(block, 4) | byte_at(block, 5) << 8;
    const int high_bits = byte_at(block, 6) | byte_at(block, 7) << 8;
    return scaled_plus(_mm_or_si128(low_nibbles(packed), fifth_bits(low_bits)),
                       _mm_or_si128(high_nibbles(packed), fifth_bits(high_bits)), half_at(block),
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
    const __m128i first = load_bytes(nibbles);
    const __m128i second = load_bytes(nibbles + 16);
    return index % 2 == 0
               ? scaled_minus(low_nibbles(first), low_nibbles(second), k.scale, k.minimum)
               : scaled_minus(high_nibbles(first), high_nibbles(second), k.scale, k.minimum);
  }
};
struct FromQ5_K {
  static constexpr int kEightBlocks = 176;
  TUTTI_INLINE static __m128i fifth(const std::byte* bytes, int index) {
    const __m128i bit = _mm_set1_epi8(static_cast<char>(1 << index));
    const __m128i is_set = _mm_cmpeq_epi8(_mm_and_si128(load_bytes(bytes), bit), bit);
    return _mm_and_si128(is_set, _mm_set1_epi8(16));
  }
  TUTTI_INLINE static Block read(const std::byte* eight, int index) {
    const ScaleAndMinimum k = k_scale_and_minimum(eight, index);
    const std::byte* nibbles = eight + 48 + index / 2 * 32;
    __m128i first = load_bytes(nibbles);
    __m128i second = load_bytes(nibbles + 16);
    first = index % 2 == 0 ? low_nibbles(first) : high_nibbles(first);
    second = index % 2 == 0 ? low_nibbles(second) : high_nibbles(second);
    return scaled_minus(_mm_or_si128(first, fifth(eight + 16, index)),
                        _mm_or_si128(second, fifth(eight + 32, index)), k.scale, k.minimum);
  }
};
struct FromQ6_K {
  static constexpr int kEightBlocks = 210;
  TUTTI_INLINE static __m128i upper_bits(const std::byte* bytes, int quarter) {
    const __m128i pairs = _mm_srl_epi16(load_bytes(bytes), _mm_cvtsi32_si128(2 * quarter));
    return _mm_slli_epi16(_mm_and_si128(pairs, _mm_set1_epi8(3)), 4);
  }
  TUTTI_INLINE static Block read(const std::byte* eight, int index) {
    const int half = index / 4;
    const int quarter = index % 4;
    const std::byte* low = eight + half * 64 + quarter % 2 * 32;
    const std::byte* high = eight + 128 + half * 32;
    const std::byte* scales = eight + 192 + half * 8 + quarter * 2;
    __m128i first = load_bytes(low);
    __m128i second = load_bytes(low + 16);
    first = quarter < 2 ? low_nibbles(first) : high_nibbles(first);
    second = quarter < 2 ? low_nibbles(second) : high_nibbles(second);
    const __m128i middle = _mm_set1_epi8(32);
    first = _mm_sub_epi8(_mm_or_si128(first, upper_bits(high, quarter)), middle);
    second = _mm_sub_epi8(_mm_or_si128(second, upper_bits(high + 16, quarter)), middle);
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
