// The int8 class: integers of eight bits on both sides, shaped for AMX's TDPBSSD. The scalar
// functions of its law, which every instruction set follows bit for bit.
//
// A superblock is 256 consecutive inputs of one output (weights) or of one row (activations); K is
// padded to whole superblocks with zeros. A group is 32 inputs, 8 of them a superblock.
//
// Weights. A stored weight is a q + b: q an integer of 4 or 5 bits, a and b of its group. With the
// middle z = 8 or 16 of q's range it is a (q - z) + c, c = fma(z, a, b).
//   D = max over groups of |z a| / 127                        one f32 a superblock
//   s = z a / D rounded to nearest even, within -127..127     one code a group (0 where D is 0)
//   w8 = s (q - z) / z rounded to nearest even                -127..127, a look-up table's entry
// so that a (q - z) is about D w8. c is 0 for Q4_0 and Q5_0; for the others the products with c
// are a product of their own, of the bf16 class (panel.h): the matrix C [N, K / 32] of all c,
// rounded to bf16, times the sums of the activations' groups. A c that were folded into w8 would be
// rounded to D, which costs the 4-bit types 0.7 % more error.
//
// Activations. For a row and a superblock, with m = max |x|:
//   da = m / 127 and x8 = x (127 / m) rounded to nearest even; both 0 where m < 2^-100
// The sum of group g is (sum of its 32 x8 as an integer, exact) * da.
//
// Sum. y starts at what it holds: 0, or the product with C. For every superblock, in order:
//   S = sum of w8 x8 as an integer, exact and below 2^22
//   y = fma(D da, S, y)
// in f32, rounded to nearest even, denormals taken as zero (float_mode.h). x must be finite.
//
// Error against double arithmetic of the stored weights: 1.0 % of the output's norm for normal
// activations and weights, 3 % where one channel in a hundred is 50 times larger.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>

namespace tutti::kernels {

inline constexpr int kSuperblockInputs = 256;
inline constexpr int kGroupInputs = 32;
inline constexpr int kSuperblockGroups = kSuperblockInputs / kGroupInputs;
inline constexpr float kLargestInt8 = 127.0f;
inline constexpr float kSmallestActivation = 0x1p-100f;

constexpr int num_superblocks(int num_inputs) {
  return (num_inputs + kSuperblockInputs - 1) / kSuperblockInputs;
}

// numerator / denominator (> 0), to the nearest integer, ties to even.
constexpr int divide_to_nearest(int numerator, int denominator) {
  int quotient = numerator / denominator;
  int rest = numerator % denominator;
  if (rest < 0) {
    rest += denominator;
    --quotient;
  }
  const bool up = 2 * rest > denominator || (2 * rest == denominator && quotient % 2 != 0);
  return up ? quotient + 1 : quotient;
}

// w8 of the code s (-127..127) and the integer q of `bits` bits.
constexpr int int8_weight(int bits, int s, int q) {
  const int middle = 1 << (bits - 1);
  return divide_to_nearest(s * (q - middle), middle);
}

// One row of 2^bits entries for every code, at the code's bits as an unsigned byte.
template <int kBits>
struct Int8Table {
  alignas(64) std::array<std::array<std::int8_t, 1 << kBits>, 256> rows{};

  // `offset` is added modulo 256: 128 makes unsigned bytes of the weights.
  constexpr explicit Int8Table(int offset) {
    for (int code = -127; code <= 127; ++code) {
      for (int q = 0; q < 1 << kBits; ++q) {
        rows[static_cast<std::uint8_t>(code)][q] =
            static_cast<std::int8_t>(int8_weight(kBits, code, q) + offset);
      }
    }
  }
};
// Tables of w8, and of w8 + 128 as an unsigned byte.
template <int kBits>
inline constexpr Int8Table<kBits> kInt8Weights{0};
template <int kBits>
inline constexpr Int8Table<kBits> kInt8WeightsPlus128{128};

// x8 of one value; `inverse` is 127 / m.
inline std::int8_t int8_activation(float x, float inverse) {
  return static_cast<std::int8_t>(std::lrintf(x * inverse));
}

}  // namespace tutti::kernels
