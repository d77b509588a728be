// bfloat16 and IEEE binary16 to and from float32, one value at a time, exact.
//
// Widening is exact for every bit pattern; a signalling NaN comes out quiet. Narrowing rounds to
// the nearest, ties to even; overflow gives infinity, denormals are kept, NaN stays a quiet NaN
// with its sign. These are the bits that VCVTNEPS2BF16 and VCVTPS2PH give, but that the former
// flushes denormals; the kernels' own conversions are tested against these.
#pragma once

#include <bit>
#include <cstdint>

namespace tutti {

constexpr float bf16_to_f32(std::uint16_t bits) {
  std::uint32_t wide = std::uint32_t{bits} << 16;
  if ((wide & 0x7fffffffu) > 0x7f800000u) wide |= 0x00400000u;
  return std::bit_cast<float>(wide);
}

constexpr std::uint16_t f32_to_bf16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<std::uint16_t>((bits >> 16) | 0x40u);
  const std::uint32_t ties_to_even = 0x7fffu + ((bits >> 16) & 1u);
  return static_cast<std::uint16_t>((bits + ties_to_even) >> 16);
}

constexpr float f16_to_f32(std::uint16_t bits) {
  const std::uint32_t sign = std::uint32_t{bits & 0x8000u} << 16;
  const std::uint32_t exponent = (bits >> 10) & 0x1fu;
  const std::uint32_t mantissa = bits & 0x3ffu;
  if (exponent == 0x1f) {
    const std::uint32_t quiet = mantissa != 0 ? 0x00400000u : 0u;
    return std::bit_cast<float>(sign | 0x7f800000u | quiet | (mantissa << 13));
  }
  if (exponent == 0) {
    // Zero or a denormal: mantissa * 2^-24, which float32 holds exactly.
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
    return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(magnitude));
  }
  return std::bit_cast<float>(sign | ((exponent + 112u) << 23) | (mantissa << 13));
}

constexpr std::uint16_t f32_to_f16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const auto sign = static_cast<std::uint16_t>((bits >> 16) & 0x8000u);
  const std::uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) {
    return static_cast<std::uint16_t>(sign | 0x7e00u | ((magnitude >> 13) & 0x1ffu));
  }
  if (magnitude >= 0x477ff000u) return static_cast<std::uint16_t>(sign | 0x7c00u);  // >= 65520
  if (magnitude < 0x38800000u) {
    // Below 2^-14 the result is a denormal, a multiple of 2^-24. Adding 0.5 moves the value to
    // where float32's last place is 2^-24, so that the addition itself rounds to nearest even.
    const float shifted = std::bit_cast<float>(magnitude) + 0.5f;
    return static_cast<std::uint16_t>(sign | (std::bit_cast<std::uint32_t>(shifted) - 0x3f000000u));
  }
  const std::uint32_t ties_to_even = 0xfffu + ((magnitude >> 13) & 1u);
  return static_cast<std::uint16_t>(sign | ((magnitude - 0x38000000u + ties_to_even) >> 13));
}

}  // namespace tutti
