// Norms, rotation and activation in the order of ref/ref_kernels.cc, sixteen lanes at a time.
// To be included after a vector_*.h.
#pragma once

#include "kernels/bf16_law.h"

namespace tutti::kernels {
namespace {

constexpr int kLanes = 16;

// exp_law (bf16_law.h).
TUTTI_INLINE Vector exponential(Vector x) {
  // Both give their second operand when there is a NaN.
  const Vector bounded = minimum(broadcast(kExpLargest), maximum(broadcast(kExpSmallest), x));
  const Words n = to_words(mul(bounded, broadcast(kLog2E)));
  const Vector n_float = to_float(n);
  Vector r = fma(n_float, broadcast(-kLn2High), bounded);
  r = fma(n_float, broadcast(-kLn2Low), r);
  Vector p = broadcast(kExpPolynomial[0]);
#pragma GCC unroll 5
  for (int i = 1; i < 6; ++i) p = fma(p, r, broadcast(kExpPolynomial[i]));
  const Vector y = add(fma(p, mul(r, r), r), broadcast(1.0f));
  return zero_where_less(x, broadcast(kExpSmallest), scale_by_power(y, n));
}

// power_law (bf16_law.h) of N vectors, step by step side by side.
template <int N>
TUTTI_INLINE void powers_of_two(Vector (&x)[N]) {
  Words n[N];
  Vector p[N];
#pragma GCC unroll 4
  for (int j = 0; j < N; ++j) {
    // Gives its second operand when there is a NaN.
    x[j] = maximum(broadcast(kPowerSmallest), x[j]);
    n[j] = to_words(x[j]);
    p[j] = broadcast(kPowerPolynomial[4]);
  }
#pragma GCC unroll 4
  for (int j = 0; j < N; ++j) x[j] = sub(x[j], to_float(n[j]));
#pragma GCC unroll 4
  for (int i = 3; i >= 0; --i) {
#pragma GCC unroll 4
    for (int j = 0; j < N; ++j) p[j] = fma(p[j], x[j], broadcast(kPowerPolynomial[i]));
  }
#pragma GCC unroll 4
  for (int j = 0; j < N; ++j) x[j] = scale_by_power(fma(p[j], x[j], broadcast(1.0f)), n[j]);
}
TUTTI_INLINE Vector power_of_two(Vector x) {
  Vector one[1] = {x};
  powers_of_two(one);
  return one[0];
}

// The lanes that are left of `count` at `i`.
TUTTI_INLINE int lanes_left(std::size_t i, std::size_t count) {
  return count - i < kLanes ? static_cast<int>(count - i) : kLanes;
}

void rms_norm(const float* x, int width, const float* weight, float epsilon, float* y) {
  const auto count = static_cast<std::size_t>(width);
  Vector sums = zero();
  for (std::size_t i = 0; i < count; i += kLanes) {
    const Vector values = load_first(x + i, lanes_left(i, count));
    sums = fma(values, values, sums);
  }
  const float mean = sum_lanes(sums) / static_cast<float>(width);
  const Vector inverse = broadcast(1.0f / square_root(mean + epsilon));
  for (std::size_t i = 0; i < count; i += kLanes) {
    const int lanes = lanes_left(i, count);
    const Vector scaled = mul(load_first(x + i, lanes), inverse);
    store_first(y + i, mul(scaled, load_first(weight + i, lanes)), lanes);
  }
}

void rope(float* x, int num_heads, int head_dim, int half_dim, const float* cos_sin[2]) {
  const auto count = static_cast<std::size_t>(half_dim);
  for (int head = 0; head < num_heads; ++head) {
    float* low = x + static_cast<std::ptrdiff_t>(head) * head_dim;
    float* high = low + half_dim;
    for (std::size_t i = 0; i < count; i += kLanes) {
      const int lanes = lanes_left(i, count);
      const Vector cosine = load_first(cos_sin[0] + i, lanes);
      const Vector sine = load_first(cos_sin[1] + i, lanes);
      const Vector x0 = load_first(low + i, lanes);
      const Vector x1 = load_first(high + i, lanes);
      store_first(low + i, fms(x0, cosine, mul(x1, sine)), lanes);
      store_first(high + i, fma(x1, cosine, mul(x0, sine)), lanes);
    }
  }
}

void silu_mul(const float* gate, const float* up, std::size_t count, float* y) {
  for (std::size_t i = 0; i < count; i += kLanes) {
    const int lanes = lanes_left(i, count);
    const Vector g = load_first(gate + i, lanes);
    const Vector e = exponential(sub(zero(), g));
    const Vector silu = div(g, add(broadcast(1.0f), e));
    store_first(y + i, mul(silu, load_first(up + i, lanes)), lanes);
  }
}

void add_scaled(float* x, const float* y, float scale, std::size_t count) {
  const Vector factor = broadcast(scale);
  for (std::size_t i = 0; i < count; i += kLanes) {
    const int lanes = lanes_left(i, count);
    const Vector sum = fma(load_first(y + i, lanes), factor, load_first(x + i, lanes));
    store_first(x + i, sum, lanes);
  }
}

}  // namespace
}  // namespace tutti::kernels
