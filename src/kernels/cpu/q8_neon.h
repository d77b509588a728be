// The q8 class on NEON: with SMMLA (i8mm) where the file is compiled for it, else with SDOT (dot
// products), else with widening multiplications. A register is four inputs of four outputs, a
// quarter of a panel's 16. To be included after vector_neon.h.
//
// Packed rows are [rows][groups] Q8Group. Four rows at a time share a group's weights.
#pragma once

#include <iterator>
#include <utility>

#include "kernels/q8_dispatch.h"
#include "kernels/q8_law.h"

namespace tutti::kernels {
namespace {

constexpr int kRowBlock = 4;
constexpr int kQuarters = kQ8PanelOutputs / 4;
constexpr int kFours = kQ8GroupInputs / 4;

std::size_t packed_bytes(int num_rows, int num_inputs) {
  return static_cast<std::size_t>(num_rows) * (num_inputs / kQ8GroupInputs) * sizeof(Q8Group);
}

// The number of steps that the law chooses for 32 inputs, whose largest magnitude is `largest`.
TUTTI_INLINE float best_steps_of(const Vector (&x)[2], float largest) {
  float best = 0, least = std::numeric_limits<float>::infinity();
#pragma GCC unroll 4
  for (const float steps : kQ8Steps) {
    const float32x4_t inverse = vdupq_n_f32(steps / largest);
    float32x4_t lanes[2] = {vdupq_n_f32(0.0f), vdupq_n_f32(0.0f)};
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) {
      const float32x4_t scaled = vmulq_f32(x[i / 4].part[i % 4], inverse);
      const float32x4_t error = vsubq_f32(scaled, vrndnq_f32(scaled));
      lanes[i % 2] = vfmaq_f32(lanes[i % 2], error, error);
    }
    const float32x4_t four = vaddq_f32(lanes[0], lanes[1]);
    const float32x4_t two = vpaddq_f32(four, four);
    const float sum = vgetq_lane_f32(two, 0) + vgetq_lane_f32(two, 1);
    const float cost = sum * q8_step_cost(steps);
    best = cost < least ? steps : best;
    least = cost < least ? cost : least;
  }
  return best;
}

// quantize_group (q8_law.h).
TUTTI_INLINE void pack_group(const float* x, Q8Group& group) {
  const Vector values[2] = {load(x), load(x + 16)};
  uint32x4_t largest_bits = vdupq_n_u32(0);
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) {
    const uint32x4_t bits = vreinterpretq_u32_f32(values[i / 4].part[i % 4]);
    largest_bits = vmaxq_u32(largest_bits, vandq_u32(bits, vdupq_n_u32(0x7fffffffu)));
  }
  const float largest = std::bit_cast<float>(vmaxvq_u32(largest_bits));
  group = {};
  if (largest < kQ8SmallestMaximum) return;
  if (!(largest <= std::numeric_limits<float>::max())) {
    group.scale = std::numeric_limits<float>::quiet_NaN();
    return;
  }
  const float steps = best_steps_of(values, largest);
  group.scale = largest / steps;
  const Vector inverse = broadcast(steps / largest);
  store_bytes(group.q, to_words(mul(values[0], inverse)));
  store_bytes(group.q + 16, to_words(mul(values[1], inverse)));
  group.sum = vaddlvq_s8(vld1q_s8(group.q)) + vaddlvq_s8(vld1q_s8(group.q + 16));
}

void pack_rows(const PackRows& job) {
  const int groups = job.num_inputs / kQ8GroupInputs;
  auto* packed = static_cast<Q8Group*>(job.packed);
  for (int m = job.first_row_block * kRowBlock;
       m < job.last_row_block * kRowBlock && m < job.num_rows; ++m) {
    for (int group = job.first_input / kQ8GroupInputs; group < job.inputs_end() / kQ8GroupInputs;
         ++group) {
      pack_group(job.x + m * job.row_stride + group * kQ8GroupInputs,
                 packed[static_cast<std::size_t>(m) * groups + group]);
    }
  }
}

// w - o of one group: [quarter][four of inputs][4 outputs][4 inputs].
struct Weights {
  int8x16_t values[kQuarters][kFours];
};
TUTTI_INLINE int8x16_t as_signed(Bytes bytes) { return vreinterpretq_s8_u8(bytes); }

// The nibbles' upper bits, of inputs 4 j and 16 + 4 j on. `tile`: at the quarter's first output.
template <int kBits>
TUTTI_INLINE void add_upper_bits(const std::byte* tile, int j, Bytes& first, Bytes& second) {
  const Bytes bits = load_bytes(tile + kQ8NibbleBytes);
  if constexpr (kBits == 5) {
    first = or_bytes(first, sixteen_where_set(bits, splat_byte(1 << j)));
    second = or_bytes(second, sixteen_where_set(bits, splat_byte(16 << j)));
  } else {
    first = or_bytes(first, upper_bit_pairs(bits, j));
    second = or_bytes(second, upper_bit_pairs(load_bytes(tile + kQ8NibbleBytes + 64), j));
  }
}

template <DType kType>
TUTTI_INLINE void unpack_tile(const std::byte* tile, Weights& weights) {
  constexpr Q8Format kFormat = q8_format(kType);
  for (int quarter = 0; quarter < kQuarters; ++quarter, tile += 16) {
    int8x16_t(&values)[kFours] = weights.values[quarter];
    if constexpr (kFormat.bits == 8) {
      for (int t = 0; t < kFours; ++t) values[t] = as_signed(load_bytes(tile + 64 * t));
    } else {
      for (int j = 0; j < 4; ++j) {
        const Bytes packed = load_bytes(tile + 64 * j);
        Bytes first = low_nibbles(packed);
        Bytes second = high_nibbles(packed);
        if constexpr (kFormat.bits != 4) add_upper_bits<kFormat.bits>(tile, j, first, second);
        const Bytes offset = splat_byte(kFormat.offset);
        values[j] = as_signed(sub_bytes(first, offset));
        values[4 + j] = as_signed(sub_bytes(second, offset));
      }
    }
  }
}

struct Scales {
  Vector scale, minimum;
  int32x4_t half_scales[2][kQuarters];  // of Q6_K
};
TUTTI_INLINE Vector widen_unsigned(const std::byte* p) {
  const uint8x16_t bytes = load_bytes(p);
  const uint16x8_t low = vmovl_u8(vget_low_u8(bytes));
  const uint16x8_t high = vmovl_u8(vget_high_u8(bytes));
  return {{vcvtq_f32_u32(vmovl_u16(vget_low_u16(low))),
           vcvtq_f32_u32(vmovl_u16(vget_high_u16(low))),
           vcvtq_f32_u32(vmovl_u16(vget_low_u16(high))),
           vcvtq_f32_u32(vmovl_u16(vget_high_u16(high)))}};
}
template <DType kType>
TUTTI_INLINE Scales scales_of(const std::byte* tile, const std::byte* header) {
  constexpr Q8Format kFormat = q8_format(kType);
  const std::byte* scales = tile + kFormat.integer_bytes();
  Scales result{};
  if constexpr (kFormat.has_half_scales()) {
    result.scale = widen_f16(header);
    for (int s = 0; s < 2; ++s) {
      const int8x16_t bytes = as_signed(load_bytes(scales + 16 * s));
      const int16x8_t low = vmovl_s8(vget_low_s8(bytes));
      const int16x8_t high = vmovl_s8(vget_high_s8(bytes));
      result.half_scales[s][0] = vmovl_s16(vget_low_s16(low));
      result.half_scales[s][1] = vmovl_s16(vget_high_s16(low));
      result.half_scales[s][2] = vmovl_s16(vget_low_s16(high));
      result.half_scales[s][3] = vmovl_s16(vget_high_s16(high));
    }
  } else if constexpr (kFormat.has_superblocks) {
    const Vector minimum = mul(widen_f16(header + 32), widen_unsigned(scales + 16));
    result.scale = mul(widen_f16(header), widen_unsigned(scales));
    result.minimum = sub(broadcast(-0.0f), minimum);
  } else {
    result.scale = widen_f16(scales);
    if constexpr (kFormat.has_minimum) result.minimum = widen_f16(scales + 32);
  }
  return result;
}

#if defined(__ARM_FEATURE_DOTPROD)
template <int kFour>
TUTTI_INLINE int32x4_t add_products(int32x4_t sum, int8x16_t weights, const int8x16_t (&q)[2]) {
  return vdotq_laneq_s32(sum, weights, q[kFour / 4], kFour % 4);
}
#else
template <int kFour>
TUTTI_INLINE int32x4_t add_products(int32x4_t sum, int8x16_t weights, const int8x16_t (&q)[2]) {
  const int32x4_t fours = vreinterpretq_s32_s8(q[kFour / 4]);
  const int8x8_t inputs = vreinterpret_s8_s32(vdup_laneq_s32(fours, kFour % 4));
  const int16x8_t low = vmull_s8(vget_low_s8(weights), inputs);
  const int16x8_t high = vmull_s8(vget_high_s8(weights), inputs);
  return vpadalq_s16(sum, vpaddq_s16(low, high));
}
#endif

// dots[r] of four outputs and R rows, over fours of inputs [kFirst, kLast).
template <int R, int kFirst, int kLast>
TUTTI_INLINE void dot_by_rows(const int8x16_t (&weights)[kFours], const Q8Group* const* x,
                              int32x4_t* dots) {
  int8x16_t q[R][2];
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r) {
    q[r][0] = vld1q_s8(x[r]->q);
    q[r][1] = vld1q_s8(x[r]->q + 16);
    dots[r] = vdupq_n_s32(0);
  }
  const auto add_four = [&]<int kFour>(std::integral_constant<int, kFour>) {
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) dots[r] = add_products<kFour>(dots[r], weights[kFour], q[r]);
  };
  [&]<int... kFour>(std::integer_sequence<int, kFour...>) {
    (add_four(std::integral_constant<int, kFirst + kFour>()), ...);
  }
  (std::make_integer_sequence<int, kLast - kFirst>());
}

#if defined(__ARM_FEATURE_MATMUL_INT8)
// SMMLA adds 2 x 2 sums of eight products: rows r, r + 1 and two outputs.
template <int R, int kFirst, int kLast>
TUTTI_INLINE void dot_by_matrices(const int8x16_t (&weights)[kFours], const Q8Group* const* x,
                                  int32x4_t* dots) {
  int32x4_t squares[R / 2][2];
#pragma GCC unroll 2
  for (int r = 0; r < R / 2; ++r) squares[r][0] = squares[r][1] = vdupq_n_s32(0);
#pragma GCC unroll 4
  for (int i = kFirst; i < kLast; i += 2) {
    const int32x4_t even = vreinterpretq_s32_s8(weights[i]);
    const int32x4_t odd = vreinterpretq_s32_s8(weights[i + 1]);
    const int8x16_t first = vreinterpretq_s8_s32(vzip1q_s32(even, odd));
    const int8x16_t second = vreinterpretq_s8_s32(vzip2q_s32(even, odd));
#pragma GCC unroll 2
    for (int r = 0; r < R / 2; ++r) {
      const int8x16_t inputs =
          vcombine_s8(vld1_s8(x[2 * r]->q + 4 * i), vld1_s8(x[2 * r + 1]->q + 4 * i));
      squares[r][0] = vmmlaq_s32(squares[r][0], inputs, first);
      squares[r][1] = vmmlaq_s32(squares[r][1], inputs, second);
    }
  }
#pragma GCC unroll 2
  for (int r = 0; r < R / 2; ++r) {
    dots[2 * r] = vcombine_s32(vget_low_s32(squares[r][0]), vget_low_s32(squares[r][1]));
    dots[2 * r + 1] = vcombine_s32(vget_high_s32(squares[r][0]), vget_high_s32(squares[r][1]));
  }
}
#endif

template <int R, int kFirst, int kLast>
TUTTI_INLINE void dot_inputs(const int8x16_t (&weights)[kFours], const Q8Group* const* x,
                             int32x4_t* dots) {
#if defined(__ARM_FEATURE_MATMUL_INT8)
  if constexpr (R % 2 == 0) return dot_by_matrices<R, kFirst, kLast>(weights, x, dots);
#endif
  dot_by_rows<R, kFirst, kLast>(weights, x, dots);
}

// dots[r] of quarter `quarter` of the outputs.
template <DType kType, int R>
TUTTI_INLINE void dot_quarter(const Weights& weights, const Scales& scales, int quarter,
                              const Q8Group* const* x, int32x4_t* dots) {
  const int8x16_t(&values)[kFours] = weights.values[quarter];
  if constexpr (q8_format(kType).has_half_scales()) {
    int32x4_t upper[R];
    dot_inputs<R, 0, kFours / 2>(values, x, dots);
    dot_inputs<R, kFours / 2, kFours>(values, x, upper);
    for (int r = 0; r < R; ++r) {
      dots[r] = vmulq_s32(dots[r], scales.half_scales[0][quarter]);
      dots[r] = vmlaq_s32(dots[r], upper[r], scales.half_scales[1][quarter]);
    }
  } else {
    dot_inputs<R, 0, kFours>(values, x, dots);
  }
}

struct Block {
  const std::byte* panel;
  const Q8Group* x;  // of its first row; rows num_groups apart
  int num_groups;
};

template <DType kType, int R>
TUTTI_INLINE void add_group(const Weights& weights, const Scales& scales, const Q8Group* const* x,
                            Vector* y) {
#pragma GCC unroll 4
  for (int quarter = 0; quarter < kQuarters; ++quarter) {
    int32x4_t dots[R];
    dot_quarter<kType, R>(weights, scales, quarter, x, dots);
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) {
      float32x4_t& sum = y[r].part[quarter];
      const float32x4_t factor = vmulq_f32(scales.scale.part[quarter], vdupq_n_f32(x[r]->scale));
      sum = vfmaq_f32(sum, vcvtq_f32_s32(dots[r]), factor);
      if constexpr (q8_format(kType).has_minimum) {
        const float row_sum = x[r]->scale * static_cast<float>(x[r]->sum);
        sum = vfmaq_f32(sum, scales.minimum.part[quarter], vdupq_n_f32(row_sum));
      }
    }
  }
}

template <DType kType, int R>
void multiply_block(const Block& job, Vector* y) {
  constexpr Q8Format kFormat = q8_format(kType);
  for (int r = 0; r < R; ++r) y[r] = zero();
  const std::byte* tile = job.panel;
  const std::byte* header = nullptr;
  Weights weights;
  for (int group = 0; group < job.num_groups; ++group, tile += kFormat.tile_bytes()) {
    if (kFormat.has_superblocks && group % kQ8SuperblockGroups == 0) {
      header = tile;
      tile += kFormat.header_bytes();
    }
    const Q8Group* x[R];
    for (int r = 0; r < R; ++r) x[r] = job.x + std::ptrdiff_t{r} * job.num_groups + group;
    unpack_tile<kType>(tile, weights);
    add_group<kType, R>(weights, scales_of<kType>(tile, header), x, y);
  }
}

using MultiplyBlock = void (*)(const Block&, Vector*);
template <DType kType>
constexpr MultiplyBlock kBlocks[kRowBlock] = {multiply_block<kType, 1>, multiply_block<kType, 2>,
                                              multiply_block<kType, 3>, multiply_block<kType, 4>};

std::size_t scratch_bytes(int, int) { return 0; }

void multiply(const QuantizedProduct& job) {
  const int groups = job.num_inputs / kQ8GroupInputs;
  const std::size_t panel_bytes = q8_panel_bytes(job.dtype, job.num_inputs);
  const auto* packed = static_cast<const Q8Group*>(job.packed);
  const MultiplyBlock* blocks = for_q8_type(
      job.dtype, []<DType kType>(TypeConstant<kType>) { return std::begin(kBlocks<kType>); });
  for (int panel = 0; panel < job.num_panels; ++panel) {
    const int output = panel * kQ8PanelOutputs;
    const int outputs_left = job.num_outputs - output;
    const int outputs = outputs_left < kQ8PanelOutputs ? outputs_left : kQ8PanelOutputs;
    for (int m = 0; m < job.num_rows; m += kRowBlock) {
      const int left = job.num_rows - m;
      const int rows = left < kRowBlock ? left : kRowBlock;
      Vector y[kRowBlock];
      blocks[rows - 1]({job.panels + panel_bytes * panel,
                        packed + static_cast<std::ptrdiff_t>(m) * groups, groups},
                       y);
      for (int r = 0; r < rows; ++r) {
        store_first(job.y + (m + r) * job.row_stride + output, y[r], outputs);
      }
    }
  }
}

constexpr QuantizedKernels kTable = q8_table(kRowBlock, {.packed_bytes = packed_bytes,
                                                         .pack_rows = pack_rows,
                                                         .scratch_bytes = scratch_bytes,
                                                         .multiply = multiply});

}  // namespace
}  // namespace tutti::kernels
