// What the tests of Ops share: every way to run a class on this machine, and random weights.
#pragma once

#include <cmath>
#include <cstring>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "device/ops.h"
#include "kernels/testing/random_data.h"

namespace tutti::device::testing {

struct Variant {
  ComputeClass compute_class;
  Isa isa;
  int num_threads;

  std::unique_ptr<Ops> make(KvDtype kv_dtype = KvDtype::kAuto) const {
    return std::move(Ops::create({.compute_class = compute_class,
                                  .isa = isa,
                                  .num_threads = num_threads,
                                  .kv_dtype = kv_dtype})
                         .value());
  }
  std::string name() const {
    return std::string(to_string(compute_class)) + "_" + to_string(isa) + "_" +
           std::to_string(num_threads);
  }
};

// Every way to run a class here, the scalar law first.
inline std::vector<Variant> variants_of(ComputeClass compute_class) {
  std::vector<Variant> variants;
  for (const Isa isa : available_isas()) {
    for (const int num_threads : {1, 2}) {
      variants.push_back({compute_class, isa, num_threads});
    }
  }
  return variants;
}

struct Weight {
  std::vector<std::byte> bytes;
  TensorView view;

  Weight(DType dtype, int num_outputs, int num_inputs, std::mt19937& random)
      : bytes(kernels::random_weights(dtype, num_outputs, num_inputs, random)),
        view{"test.weight", dtype, {num_outputs, num_inputs}, bytes} {}
};

inline std::vector<float> linear(Ops& ops, const Weight& weight, std::span<const float> x,
                                 std::span<const float> bias = {},
                                 std::span<const std::int32_t> row_order = {}) {
  const MatrixPtr matrix = ops.make_matrix(weight.view, row_order).value();
  const int num_rows = static_cast<int>(x.size() / weight.view.shape[1]);
  std::vector<float> y(static_cast<std::size_t>(num_rows) * weight.view.shape[0], NAN);
  ops.linear(*matrix, x.data(), num_rows, y.data(), bias);
  return y;
}

inline bool same_bits(std::span<const float> a, std::span<const float> b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size_bytes()) == 0;
}

inline double relative_error(std::span<const double> exact, std::span<const float> actual) {
  double error = 0, norm = 0;
  for (std::size_t i = 0; i < exact.size(); ++i) {
    error += (exact[i] - actual[i]) * (exact[i] - actual[i]);
    norm += exact[i] * exact[i];
  }
  return std::sqrt(error / norm);
}

}  // namespace tutti::device::testing
