// The q8 class: weights of four and five bits stay the small integers they are stored as, times
// int8 activations with a scale for each row and 32 inputs.
//
// Layout of a panel. 16 outputs; for each group of 32 inputs a tile, the tiles one after the other:
//   256 bytes  byte 64 j + 4 n + c: of output n, input 4 j + c in the low half, 16 + 4 j + c in the
//              high one (j 0..3, n 0..15, c 0..3)
//    64 bytes  types of five bits only. Bit t of byte 4 n + c: the fifth bit of output n, input
//              4 t + c (t 0..7)
//    32 bytes  types without superblocks: f16 scale[16]
//    32 bytes  Q4_1 and Q5_1: f16 minimum[16]
//    32 bytes  Q4_K and Q5_K: u8 scale[16], u8 minimum[16]; and before every eighth tile 64 bytes,
//              f16 d[16], f16 dmin[16]
// so that a weight takes 4.5 bits in Q4_0, 5 in Q4_1, 5.5 in Q5_0, 6 in Q5_1, 4.625 in Q4_K and
// 5.625 in Q5_K. A 64-byte vector holds four inputs of 16 outputs, an output in each 32-bit lane,
// which is what VPDPBUSD wants; half of it serves 256-bit registers.
//
// Activations. For each row and group of 32 inputs, with a = max |x|:
//   a < 1e-30: all q are 0 and the scale is +0
//   a is infinite or NaN: all q are 0 and the scale is NaN, so that the row's results are NaN
//   else scale = a / s and q[k] = x[k] * (s / a) rounded to the nearest even integer, |q| <= s, for
//   that s of 127, 126, 125, 124 whose rounding errors are least; of equals the largest. The errors
//   are compared as cost(s) * the sum of (t - round(t))^2, t = x[k] * (s / a), in f32: eight lanes,
//   input k in lane k % 8 by fused multiply-add in the order of k; then lane i + 4 is added to lane
//   i; (0 + 1) + (2 + 3); cost(s) = (127 / s)^2
// Four tries leave 86 % of the squared error of one (eight: 82 %).
//
// Law of the sum, the same for every instruction set, number of rows, and blocking. For each row
// and output, y starts at +0, and for every group, in order, with w[k] the stored integer (0..15 or
// 0..31), o the type's offset (8 in Q4_0, 16 in Q5_0, else 0):
//   dot = sum over k of (w[k] - o) * q[k]             exact
//   y = fma(float(dot), weight scale * scale, y)
//   types with a minimum: y = fma(minimum, scale * float(sum of q), y)
// where the weight scale is the f16 scale, or d * u8 scale, and the minimum is the f16 minimum, or
// -(dmin * u8 minimum); all in f32, rounded to nearest even, denormals taken as zero (those of f16
// are numbers in f32 and are not). A NaN is a NaN whatever its bits.
#pragma once

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "kernels/quantized_kernels.h"
#include "tensor/dtype.h"

namespace tutti::kernels {

inline constexpr int kQ8PanelOutputs = 16;
inline constexpr int kQ8GroupInputs = 32;
inline constexpr int kQ8NibbleBytes = kQ8PanelOutputs * kQ8GroupInputs / 2;
inline constexpr int kQ8FifthBitBytes = kQ8PanelOutputs * kQ8GroupInputs / 8;
inline constexpr int kQ8SuperblockGroups = 8;
inline constexpr int kQ8SuperblockBytes = 64;
inline constexpr float kQ8SmallestMaximum = 1e-30f;
// The steps s that are tried between 0 and the largest activation of a group, and their costs.
inline constexpr int kQ8NumSteps = 4;
inline constexpr float kQ8Steps[kQ8NumSteps] = {127, 126, 125, 124};
constexpr float q8_step_cost(float steps) { return (127.0f / steps) * (127.0f / steps); }

struct Q8Format {
  bool is_taken = false;  // by the class
  bool five_bits = false;
  bool has_superblocks = false;
  bool has_minimum = false;
  int offset = 0;

  constexpr int scale_bytes() const { return has_minimum && !has_superblocks ? 64 : 32; }
  constexpr int tile_bytes() const {
    return kQ8NibbleBytes + (five_bits ? kQ8FifthBitBytes : 0) + scale_bytes();
  }
  // Of tile `group`, from the panel's start.
  constexpr std::size_t tile_offset(int group) const {
    const int headers = has_superblocks ? group / kQ8SuperblockGroups + 1 : 0;
    return static_cast<std::size_t>(group) * tile_bytes() +
           static_cast<std::size_t>(headers) * kQ8SuperblockBytes;
  }
};

constexpr Q8Format q8_format(DType dtype) {
  switch (dtype) {
    case DType::kQ4_0:
      return {.is_taken = true, .offset = 8};
    case DType::kQ4_1:
      return {.is_taken = true, .has_minimum = true};
    case DType::kQ5_0:
      return {.is_taken = true, .five_bits = true, .offset = 16};
    case DType::kQ5_1:
      return {.is_taken = true, .five_bits = true, .has_minimum = true};
    case DType::kQ4_K:
      return {.is_taken = true, .has_superblocks = true, .has_minimum = true};
    case DType::kQ5_K:
      return {.is_taken = true, .five_bits = true, .has_superblocks = true, .has_minimum = true};
    default:
      return {};
  }
}

// Functions of QuantizedKernels that are the same for every instruction set.
bool q8_takes(DType dtype);
std::size_t q8_panel_bytes(DType dtype, int num_inputs);
void q8_pack_weights(const QuantizedWeights& job);
void q8_unpack_row(DType dtype, const std::byte* panel, int n, int num_inputs, float* row);

// What a tile says of one output.
struct Q8TileOutput {
  std::int8_t weights[kQ8GroupInputs];  // w - o
  float scale;
  float minimum;  // 0 in types without
};
Q8TileOutput q8_tile_output(const Q8Format& format, const std::byte* panel, int group, int n);

// One group of activations by the law.
struct Q8Group {
  std::int8_t q[kQ8GroupInputs];
  float scale;
  std::int32_t sum;  // of q
};
// `largest`: of the 32 magnitudes.
inline float best_steps(const float* x, float largest) {
  float best = 0, least_error = std::numeric_limits<float>::infinity();
  for (const float steps : kQ8Steps) {
    const float inverse = steps / largest;
    float lanes[8] = {};
    for (int k = 0; k < kQ8GroupInputs; ++k) {
      const float scaled = x[k] * inverse;
      const float error = scaled - std::nearbyintf(scaled);
      lanes[k % 8] = std::fmaf(error, error, lanes[k % 8]);
    }
    for (int lane = 0; lane < 4; ++lane) lanes[lane] += lanes[lane + 4];
    const float sum = (lanes[0] + lanes[1]) + (lanes[2] + lanes[3]);
    const float error = sum * q8_step_cost(steps);
    if (error < least_error) {
      best = steps;
      least_error = error;
    }
  }
  return best;
}
inline Q8Group quantize_group(const float* x) {
  Q8Group group{};
  std::uint32_t largest = 0;  // the bits of a float without its sign are ordered as it is
  for (int k = 0; k < kQ8GroupInputs; ++k) {
    const std::uint32_t bits = std::bit_cast<std::uint32_t>(x[k]) & 0x7fffffffu;
    largest = bits > largest ? bits : largest;
  }
  const float a = std::bit_cast<float>(largest);
  if (a < kQ8SmallestMaximum) return group;
  if (!(a <= std::numeric_limits<float>::max())) {
    group.scale = std::numeric_limits<float>::quiet_NaN();
    return group;
  }
  const float steps = best_steps(x, a);
  group.scale = a / steps;
  const float inverse = steps / a;
  for (int k = 0; k < kQ8GroupInputs; ++k) {
    group.q[k] = static_cast<std::int8_t>(std::lrintf(x[k] * inverse));
    group.sum += group.q[k];
  }
  return group;
}

const QuantizedKernels& ref_q8_kernels();
// Only to be called on a machine that has the instructions (device/isa.h).
const QuantizedKernels& avx2_q8_kernels();
const QuantizedKernels& avxvnni_q8_kernels();
const QuantizedKernels& avx512_q8_kernels();
const QuantizedKernels& avx512vnni_q8_kernels();
const QuantizedKernels& amx_q8_kernels();  // VNNI and tiles of int8
const QuantizedKernels& neon_q8_kernels();
const QuantizedKernels& neon_dot_q8_kernels();   // dot products
const QuantizedKernels& neon_i8mm_q8_kernels();  // dot products and i8mm

}  // namespace tutti::kernels
