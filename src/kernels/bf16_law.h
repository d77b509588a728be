// The scalar functions that the law of the bf16 class is made of (panel.h). Each vector kernel
// follows them operation by operation. To be run with denormals flushed (float_mode.h).
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

namespace tutti::kernels {

inline float bf16_to_float(std::uint16_t bits) {
  return std::bit_cast<float>(std::uint32_t{bits} << 16);
}

inline std::uint16_t round_to_bf16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude < 0x00800000u) return static_cast<std::uint16_t>((bits >> 16) & 0x8000u);
  if (magnitude > 0x7f800000u) return static_cast<std::uint16_t>((bits >> 16) | 0x40u);
  return static_cast<std::uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

// Coefficients of exp: x = n ln 2 + r with |r| <= ln 2 / 2, ln 2 in two parts, and the polynomial
// of Cephes' expf (netlib.org/cephes, single/expf.c) for (exp(r) - 1 - r) / r^2. Largest relative
// error 1.2e-7.
inline constexpr float kExpLargest = 88.0f;    // larger arguments are taken as this
inline constexpr float kExpSmallest = -87.0f;  // smaller ones give 0
inline constexpr float kLog2E = 1.44269504088896341f;
inline constexpr float kLn2High = 0.693359375f;
inline constexpr float kLn2Low = -2.12194440e-4f;
inline constexpr float kExpPolynomial[6] = {1.9875691500e-4f, 1.3981999507e-3f, 8.3334519073e-3f,
                                            4.1665795894e-2f, 1.6666665459e-1f, 5.0000001201e-1f};

// exp(x); exactly 1 at 0, NaN of NaN.
inline float exp_law(float x) {
  if (std::isnan(x)) return x;
  if (x < kExpSmallest) return 0.0f;
  x = x < kExpLargest ? x : kExpLargest;
  const long n = std::lrintf(x * kLog2E);
  const float n_float = static_cast<float>(n);
  float r = std::fmaf(n_float, -kLn2High, x);
  r = std::fmaf(n_float, -kLn2Low, r);
  float p = kExpPolynomial[0];
  for (int i = 1; i < 6; ++i) p = std::fmaf(p, r, kExpPolynomial[i]);
  const float y = std::fmaf(p, r * r, r) + 1.0f;
  return std::bit_cast<float>(std::bit_cast<std::uint32_t>(y) +
                              (static_cast<std::uint32_t>(n) << 23));
}

// Coefficients of 2^r = 1 + r (c0 + c1 r + ..) for |r| <= 1/2, the polynomial of least relative
// error. Largest relative error 1.7e-7.
inline constexpr float kPowerSmallest = -125.0f;  // smaller arguments are taken as this
inline constexpr float kPowerPolynomial[5] = {6.931470037e-1f, 2.402224243e-1f, 5.550733581e-2f,
                                              9.671512991e-3f, 1.326472731e-3f};

// 2^x for x <= 0; exactly 1 at 0, NaN of NaN.
inline float power_law(float x) {
  if (std::isnan(x)) return x;
  x = x < kPowerSmallest ? kPowerSmallest : x;
  const long n = std::lrintf(x);
  const float r = x - static_cast<float>(n);
  float p = kPowerPolynomial[4];
  for (int i = 3; i >= 0; --i) p = std::fmaf(p, r, kPowerPolynomial[i]);
  const float y = std::fmaf(p, r, 1.0f);
  return std::bit_cast<float>(std::bit_cast<std::uint32_t>(y) +
                              (static_cast<std::uint32_t>(n) << 23));
}

// The order in which 16 partial sums become one: halves are added until one is left.
inline float sum_of_lanes(const float (&lanes)[16]) {
  float sums[16];
  for (int i = 0; i < 16; ++i) sums[i] = lanes[i];
  for (int width = 8; width > 0; width /= 2) {
    for (int i = 0; i < width; ++i) sums[i] = sums[i] + sums[i + width];
  }
  return sums[0];
}

}  // namespace tutti::kernels
