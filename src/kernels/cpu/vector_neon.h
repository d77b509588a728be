// Sixteen floats as four NEON registers (ARMv8-A): the names of vector_avx2.h.
#pragma once

#include <arm_neon.h>

#include <cstddef>
#include <cstdint>

#define TUTTI_INLINE [[gnu::always_inline]] inline

namespace tutti::kernels {
namespace {

struct Vector {
  float32x4_t part[4];
};
constexpr std::size_t kVectorRegisterBytes = 16;
struct Words {
  int32x4_t part[4];
};

TUTTI_INLINE Vector broadcast(float x) {
  const float32x4_t part = vdupq_n_f32(x);
  return {{part, part, part, part}};
}
TUTTI_INLINE Vector zero() { return broadcast(0.0f); }
TUTTI_INLINE Vector load(const float* p) {
  return {{vld1q_f32(p), vld1q_f32(p + 4), vld1q_f32(p + 8), vld1q_f32(p + 12)}};
}
TUTTI_INLINE void store(float* p, Vector x) {
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) vst1q_f32(p + 4 * i, x.part[i]);
}

// function(i-th parts) for the four parts.
template <typename Result, typename Function>
TUTTI_INLINE Result for_parts(const Function& function) {
  return {{function(0), function(1), function(2), function(3)}};
}

TUTTI_INLINE Vector add(Vector a, Vector b) {
  return for_parts<Vector>([&](int i) { return vaddq_f32(a.part[i], b.part[i]); });
}
TUTTI_INLINE Vector sub(Vector a, Vector b) {
  return for_parts<Vector>([&](int i) { return vsubq_f32(a.part[i], b.part[i]); });
}
TUTTI_INLINE Vector mul(Vector a, Vector b) {
  return for_parts<Vector>([&](int i) { return vmulq_f32(a.part[i], b.part[i]); });
}
TUTTI_INLINE Vector div(Vector a, Vector b) {
  return for_parts<Vector>([&](int i) { return vdivq_f32(a.part[i], b.part[i]); });
}
TUTTI_INLINE Vector fma(Vector a, Vector b, Vector c) {
  return for_parts<Vector>([&](int i) { return vfmaq_f32(c.part[i], a.part[i], b.part[i]); });
}
TUTTI_INLINE Vector fms(Vector a, Vector b, Vector c) {
  return for_parts<Vector>(
      [&](int i) { return vfmaq_f32(vnegq_f32(c.part[i]), a.part[i], b.part[i]); });
}
TUTTI_INLINE Vector minimum(Vector a, Vector b) {
  return for_parts<Vector>(
      [&](int i) { return vbslq_f32(vcltq_f32(a.part[i], b.part[i]), a.part[i], b.part[i]); });
}
TUTTI_INLINE Vector maximum(Vector a, Vector b) {
  return for_parts<Vector>(
      [&](int i) { return vbslq_f32(vcgtq_f32(a.part[i], b.part[i]), a.part[i], b.part[i]); });
}
TUTTI_INLINE Vector zero_where_less(Vector x, Vector bound, Vector value) {
  return for_parts<Vector>([&](int i) {
    return vbslq_f32(vcltq_f32(x.part[i], bound.part[i]), vdupq_n_f32(0.0f), value.part[i]);
  });
}
TUTTI_INLINE Words to_words(Vector x) {
  return for_parts<Words>([&](int i) { return vcvtnq_s32_f32(x.part[i]); });
}
TUTTI_INLINE Vector to_float(Words x) {
  return for_parts<Vector>([&](int i) { return vcvtq_f32_s32(x.part[i]); });
}
TUTTI_INLINE Words load_integers(const std::int32_t* p) {
  return {{vld1q_s32(p), vld1q_s32(p + 4), vld1q_s32(p + 8), vld1q_s32(p + 12)}};
}
TUTTI_INLINE void store_bytes(std::int8_t* p, Words x) {
  const int16x8_t low = vcombine_s16(vqmovn_s32(x.part[0]), vqmovn_s32(x.part[1]));
  const int16x8_t high = vcombine_s16(vqmovn_s32(x.part[2]), vqmovn_s32(x.part[3]));
  vst1q_s8(p, vcombine_s8(vqmovn_s16(low), vqmovn_s16(high)));
}
TUTTI_INLINE Vector scale_by_power(Vector x, Words n) {
  return for_parts<Vector>([&](int i) {
    const int32x4_t bits = vreinterpretq_s32_f32(x.part[i]);
    return vreinterpretq_f32_s32(vaddq_s32(bits, vshlq_n_s32(n.part[i], 23)));
  });
}

// All ones in the lanes begin <= i < end.
TUTTI_INLINE uint32x4_t lanes_of_part(int part, int begin, int end) {
  constexpr std::int32_t kFirst[4] = {0, 1, 2, 3};
  const int32x4_t lane = vaddq_s32(vld1q_s32(kFirst), vdupq_n_s32(4 * part));
  return vandq_u32(vcgeq_s32(lane, vdupq_n_s32(begin)), vcltq_s32(lane, vdupq_n_s32(end)));
}
TUTTI_INLINE Vector select_lanes(Vector x, Vector other, int begin, int end) {
  return for_parts<Vector>(
      [&](int i) { return vbslq_f32(lanes_of_part(i, begin, end), x.part[i], other.part[i]); });
}
TUTTI_INLINE Vector load_first(const float* p, int count) {
  if (count >= 16) return load(p);
  float values[16] = {};
  for (int i = 0; i < count; ++i) values[i] = p[i];
  return load(values);
}
TUTTI_INLINE void store_first(float* p, Vector x, int count) {
  if (count >= 16) return store(p, x);
  float values[16];
  store(values, x);
  for (int i = 0; i < count; ++i) p[i] = values[i];
}

TUTTI_INLINE float sum_lanes(Vector x) {
  const float32x4_t low = vaddq_f32(x.part[0], x.part[2]);
  const float32x4_t high = vaddq_f32(x.part[1], x.part[3]);
  const float32x4_t four = vaddq_f32(low, high);
  const float32x2_t two = vadd_f32(vget_low_f32(four), vget_high_f32(four));
  return vget_lane_f32(two, 0) + vget_lane_f32(two, 1);
}
TUTTI_INLINE float first_lane(Vector x) { return vgetq_lane_f32(x.part[0], 0); }
TUTTI_INLINE float largest_lane(Vector x) {
  const float32x4_t low = vmaxq_f32(x.part[0], x.part[2]);
  return vmaxvq_f32(vmaxq_f32(low, vmaxq_f32(x.part[1], x.part[3])));
}
TUTTI_INLINE float square_root(float x) { return vget_lane_f32(vsqrt_f32(vdup_n_f32(x)), 0); }

TUTTI_INLINE Vector even_of_pairs(const std::uint16_t* p) {
  return for_parts<Vector>([&](int i) {
    const uint32x4_t pairs = vreinterpretq_u32_u16(vld1q_u16(p + 8 * i));
    return vreinterpretq_f32_u32(vshlq_n_u32(pairs, 16));
  });
}
TUTTI_INLINE Vector odd_of_pairs(const std::uint16_t* p) {
  return for_parts<Vector>([&](int i) {
    const uint32x4_t pairs = vreinterpretq_u32_u16(vld1q_u16(p + 8 * i));
    return vreinterpretq_f32_u32(vandq_u32(pairs, vdupq_n_u32(0xffff0000u)));
  });
}

TUTTI_INLINE int32x4_t load_byte_pairs(const std::byte* p) {
  return vmovl_s16(vld1_s16(reinterpret_cast<const std::int16_t*>(p)));
}
TUTTI_INLINE Vector even_of_byte_pairs(const std::byte* p) {
  return to_float(for_parts<Words>(
      [&](int i) { return vshrq_n_s32(vshlq_n_s32(load_byte_pairs(p + 8 * i), 24), 24); }));
}
TUTTI_INLINE Vector odd_of_byte_pairs(const std::byte* p) {
  return to_float(
      for_parts<Words>([&](int i) { return vshrq_n_s32(load_byte_pairs(p + 8 * i), 8); }));
}

TUTTI_INLINE float32x4_t round_part(float32x4_t x) {
  const uint32x4_t bits = vreinterpretq_u32_f32(x);
  const uint32x4_t magnitude = vandq_u32(bits, vdupq_n_u32(0x7fffffffu));
  const uint32x4_t last = vandq_u32(vshrq_n_u32(bits, 16), vdupq_n_u32(1));
  uint32x4_t rounded = vaddq_u32(bits, vaddq_u32(last, vdupq_n_u32(0x7fffu)));
  const uint32x4_t is_nan = vcgtq_u32(magnitude, vdupq_n_u32(0x7f800000u));
  rounded = vbslq_u32(is_nan, vorrq_u32(bits, vdupq_n_u32(0x00400000u)), rounded);
  const uint32x4_t is_denormal = vcltq_u32(magnitude, vdupq_n_u32(0x00800000u));
  rounded = vbslq_u32(is_denormal, vandq_u32(bits, vdupq_n_u32(0x80000000u)), rounded);
  return vreinterpretq_f32_u32(vandq_u32(rounded, vdupq_n_u32(0xffff0000u)));
}
TUTTI_INLINE Vector rounded(Vector x) {
  return for_parts<Vector>([&](int i) { return round_part(x.part[i]); });
}

TUTTI_INLINE Vector rounded_normal(Vector x) {
  return for_parts<Vector>([&](int i) {
    const uint32x4_t bits = vreinterpretq_u32_f32(x.part[i]);
    const uint32x4_t last = vandq_u32(vshrq_n_u32(bits, 16), vdupq_n_u32(1));
    const uint32x4_t sum = vaddq_u32(bits, vaddq_u32(last, vdupq_n_u32(0x7fffu)));
    return vreinterpretq_f32_u32(vandq_u32(sum, vdupq_n_u32(0xffff0000u)));
  });
}

TUTTI_INLINE void store_bf16(std::uint16_t* p, Vector x) {
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    vst1_u16(p + 4 * i, vshrn_n_u32(vreinterpretq_u32_f32(x.part[i]), 16));
  }
}
TUTTI_INLINE void store_rounded(std::uint16_t* p, Vector x) { store_bf16(p, rounded(x)); }
TUTTI_INLINE Vector widen_bf16(const std::uint16_t* p) {
  return for_parts<Vector>(
      [&](int i) { return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(p + 4 * i), 16)); });
}
TUTTI_INLINE Vector widen_f16(const std::byte* p) {
  const auto* halves = reinterpret_cast<const std::uint16_t*>(p);
  return for_parts<Vector>(
      [&](int i) { return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(halves + 4 * i))); });
}

// Sixteen bytes, and what the weight formats do with them.
using Bytes = uint8x16_t;

TUTTI_INLINE Bytes load_bytes(const std::byte* p) {
  return vld1q_u8(reinterpret_cast<const std::uint8_t*>(p));
}
TUTTI_INLINE Bytes splat_byte(int x) { return vdupq_n_u8(static_cast<std::uint8_t>(x)); }
TUTTI_INLINE Bytes or_bytes(Bytes a, Bytes b) { return vorrq_u8(a, b); }
TUTTI_INLINE Bytes sub_bytes(Bytes a, Bytes b) { return vsubq_u8(a, b); }
TUTTI_INLINE Bytes low_nibbles(Bytes bytes) { return vandq_u8(bytes, vdupq_n_u8(15)); }
TUTTI_INLINE Bytes high_nibbles(Bytes bytes) { return vshrq_n_u8(bytes, 4); }
TUTTI_INLINE Bytes sixteen_where_set(Bytes bytes, Bytes bit) {
  return vandq_u8(vtstq_u8(bytes, bit), vdupq_n_u8(16));
}
TUTTI_INLINE Bytes fifth_bits(int bits) {
  const uint8x16_t spread = vcombine_u8(vdup_n_u8(static_cast<std::uint8_t>(bits)),
                                        vdup_n_u8(static_cast<std::uint8_t>(bits >> 8)));
  return sixteen_where_set(spread, vreinterpretq_u8_u64(vdupq_n_u64(0x8040201008040201ull)));
}
TUTTI_INLINE Bytes upper_bit_pairs(Bytes bytes, int pair) {
  const int8x16_t shift = vdupq_n_s8(static_cast<std::int8_t>(-2 * pair));
  return vshlq_n_u8(vandq_u8(vshlq_u8(bytes, shift), vdupq_n_u8(3)), 4);
}
TUTTI_INLINE float half_to_float(int bits) {
  const uint16x4_t halves = vdup_n_u16(static_cast<std::uint16_t>(bits));
  return vgetq_lane_f32(vcvt_f32_f16(vreinterpret_f16_u16(halves)), 0);
}
TUTTI_INLINE Vector widen_bytes(Bytes bytes) {
  const int8x16_t values = vreinterpretq_s8_u8(bytes);
  const int16x8_t low = vmovl_s8(vget_low_s8(values));
  const int16x8_t high = vmovl_s8(vget_high_s8(values));
  return to_float({{vmovl_s16(vget_low_s16(low)), vmovl_s16(vget_high_s16(low)),
                    vmovl_s16(vget_low_s16(high)), vmovl_s16(vget_high_s16(high))}});
}

TUTTI_INLINE void transpose_4x4(const std::uint32_t* in, std::uint32_t* out) {
  uint32x4_t row[4];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) row[i] = vld1q_u32(in + 16 * i);
  const uint64x2_t a = vreinterpretq_u64_u32(vtrn1q_u32(row[0], row[1]));
  const uint64x2_t b = vreinterpretq_u64_u32(vtrn2q_u32(row[0], row[1]));
  const uint64x2_t c = vreinterpretq_u64_u32(vtrn1q_u32(row[2], row[3]));
  const uint64x2_t d = vreinterpretq_u64_u32(vtrn2q_u32(row[2], row[3]));
  vst1q_u32(out, vreinterpretq_u32_u64(vtrn1q_u64(a, c)));
  vst1q_u32(out + 32, vreinterpretq_u32_u64(vtrn1q_u64(b, d)));
  vst1q_u32(out + 64, vreinterpretq_u32_u64(vtrn2q_u64(a, c)));
  vst1q_u32(out + 96, vreinterpretq_u32_u64(vtrn2q_u64(b, d)));
}
TUTTI_INLINE void transpose_16x16(const std::uint32_t* in, std::uint32_t* out) {
  for (int i = 0; i < 16; i += 4) {
    for (int j = 0; j < 16; j += 4) transpose_4x4(in + 16 * i + j, out + 32 * j + i);
  }
}

}  // namespace
}  // namespace tutti::kernels
