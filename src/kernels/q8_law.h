// The q8 class: weights stay the small integers they are stored as, times int8 activations with a
// scale for each row and 32 inputs.
//
// Layout of a panel. 16 outputs; for each group of 32 inputs a tile, the tiles one after the other.
// The tile's integers are
//   Q8_0:
//   512 bytes  byte 64 t + 4 n + c: input 4 t + c of output n (t 0..7, n 0..15, c 0..3), signed
//   the other types:
//   256 bytes  byte 64 j + 4 n + c: of output n, input 4 j + c in the low half, 16 + 4 j + c in the
//              high one (j 0..3)
//    64 bytes  types of five bits. Bit t of byte 4 n + c: the fifth bit of output n, input
//              4 t + c (t 0..7)
//   128 bytes  Q6_K. Bits 2 j, 2 j + 1 of byte 64 s + 4 n + c: the fifth and sixth bit of output n,
//              input 16 s + 4 j + c (s 0..1)
// and its scales
//    32 bytes  types without superblocks: f16 scale[16]
//    32 bytes  Q4_1 and Q5_1: f16 minimum[16]
//    32 bytes  Q4_K and Q5_K: u8 scale[16], u8 minimum[16]; and before every eighth tile 64 bytes,
//              f16 d[16], f16 dmin[16]
//    32 bytes  Q6_K: s8 scale of inputs 0..15 [16], of inputs 16..31 [16]; and before every eighth
//              tile 32 bytes, f16 d[16]
// so that a weight takes 4.5 bits in Q4_0, 5 in Q4_1, 5.5 in Q5_0, 6 in Q5_1, 4.625 in Q4_K, 5.625
// in Q5_K, 6.5625 in Q6_K and 8.5 in Q8_0. A 64-byte vector holds four inputs of 16 outputs, an
// output in each 32-bit lane, which is what VPDPBUSD wants; half of it serves 256-bit registers.
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
// Logits from weights of 8 bits take activations in two such parts (device/two_part_linear.h).
//
// Law of the sum, the same for every instruction set, number of rows, and blocking. For each row
// and output, y starts at +0, and for every group, in order, with w[k] the stored integer, o the
// type's offset (8 in Q4_0, 16 in Q5_0, 32 in Q6_K, else 0):
//   dot = sum over k of (w[k] - o) * q[k]             exact
//   Q6_K: dot = the same, each half of 16 inputs times its s8 scale; below 2^24, so exact in f32
//   y = fma(float(dot), weight scale * scale, y)
//   types with a minimum: y = fma(minimum, scale * float(sum of q), y)
// where the weight scale is the f16 scale, or d * u8 scale, or Q6_K's d, and the minimum is the f16
// minimum, or -(dmin * u8 minimum); all in f32, rounded to nearest even, denormals taken as zero
// (those of f16 are numbers in f32 and are not). float(0) is +0. A NaN is a NaN whatever its bits.
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
inline constexpr int kQ8HalfInputs = kQ8GroupInputs / 2;  // that share a scale in Q6_K
inline constexpr int kQ8NibbleBytes = kQ8PanelOutputs * kQ8GroupInputs / 2;
inline constexpr int kQ8SuperblockGroups = 8;
inline constexpr float kQ8SmallestMaximum = 1e-30f;
// The steps s that are tried between 0 and the largest activation of a group, and their costs.
inline constexpr int kQ8NumSteps = 4;
inline constexpr float kQ8Steps[kQ8NumSteps] = {127, 126, 125, 124};
constexpr float q8_step_cost(float steps) { return (127.0f / steps) * (127.0f / steps); }

struct Q8Format {
  bool is_taken = false;  // by the class
  int bits = 4;           // of a stored integer; those of 8 are signed
  bool has_superblocks = false;
  bool has_minimum = false;
  int offset = 0;

  constexpr bool has_half_scales() const { return bits == 6; }
  constexpr int scale_bytes() const { return has_minimum && !has_superblocks ? 64 : 32; }
  constexpr int integer_bytes() const { return kQ8PanelOutputs * kQ8GroupInputs * bits / 8; }
  constexpr int tile_bytes() const { return integer_bytes() + scale_bytes(); }
  // Before every eighth tile of a type with superblocks.
  constexpr int header_bytes() const {
    if (!has_superblocks) return 0;
    return has_minimum ? 64 : 32;
  }
  // Of tile `group`, from the panel's start.
  constexpr std::size_t tile_offset(int group) const {
    return static_cast<std::size_t>(group) * tile_bytes() +
           static_cast<std::size_t>(group / kQ8SuperblockGroups + 1) * header_bytes();
  }
  // Of the header that tile `group` belongs to.
  constexpr std::size_t header_offset(int group) const {
    return tile_offset(group / kQ8SuperblockGroups * kQ8SuperblockGroups) -
           static_cast<std::size_t>(header_bytes());
  }
};

constexpr Q8Format q8_format(DType dtype) {
  switch (dtype) {
    case DType::kQ4_0:
      return {.is_taken = true, .offset = 8};
    case DType::kQ4_1:
      return {.is_taken = true, .has_minimum = true};
    case DType::kQ5_0:
      return {.is_taken = true, .bits = 5, .offset = 16};
    case DType::kQ5_1:
      return {.is_taken = true, .bits = 5, .has_minimum = true};
    case DType::kQ8_0:
      return {.is_taken = true, .bits = 8};
    case DType::kQ4_K:
      return {.is_taken = true, .has_superblocks = true, .has_minimum = true};
    case DType::kQ5_K:
      return {.is_taken = true, .bits = 5, .has_superblocks = true, .has_minimum = true};
    case DType::kQ6_K:
      return {.is_taken = true, .bits = 6, .has_superblocks = true, .offset = 32};
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
  int half_scales[2];                   // 1 in types without
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

// The class's table with an instruction set's own functions.
constexpr QuantizedKernels q8_table(int row_block, QuantizedKernels own) {
  own.panel_outputs = kQ8PanelOutputs;
  own.row_block = row_block;
  own.pack_inputs = kQ8GroupInputs;
  own.takes = q8_takes;
  own.panel_bytes = q8_panel_bytes;
  own.pack_weights = q8_pack_weights;
  own.unpack_row = q8_unpack_row;
  return own;
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
