// What each compute class costs in one linear layer: the relative error of its output against
// double arithmetic on the weights as their type stores them, so that only the class's own rounding
// counts. Beside it the way of llama.cpp's blocks of 32: activations as int8 with a scale for each
// 32 values, products exact.
//
// layer_error [--isa avx2]
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <functional>
#include <string>
#include <vector>

#include "device/ops.h"
#include "kernels/op_cases.h"
#include "kernels/testing/random_data.h"
#include "tensor/dequantize.h"

namespace tutti {
namespace {

using device::ComputeClass;

constexpr int kInputs = 2048, kOutputs = 256, kRows = 16;

// Normal values, each input (channel) scaled the same way in every row.
struct Activations {
  const char* name;
  std::function<float(std::mt19937&)> channel_scale;
};

const std::vector<Activations>& activation_kinds() {
  static const std::vector<Activations> kKinds = {
      {"normal", [](std::mt19937&) { return 1.0f; }},
      {"1 % of channels x 50",
       [](std::mt19937& random) { return random() % 100 == 0 ? 50.0f : 1.0f; }},
      {"channels lognormal",
       [](std::mt19937& random) { return std::exp(std::normal_distribution<float>()(random)); }},
  };
  return kKinds;
}

std::vector<float> make_activations(const Activations& kind, std::mt19937& random) {
  std::vector<float> scales(kInputs);
  for (float& scale : scales) scale = kind.channel_scale(random);
  auto x = kernels::random_floats(std::size_t{kRows} * kInputs, random);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] *= scales[i % kInputs];
  return x;
}

// [kRows, kOutputs] in double arithmetic.
std::vector<double> product(const std::vector<float>& weights, const std::vector<float>& x) {
  std::vector<double> y;
  for (int m = 0; m < kRows; ++m) {
    for (int n = 0; n < kOutputs; ++n) {
      double sum = 0;
      for (int k = 0; k < kInputs; ++k) {
        sum += double{x[m * kInputs + k]} * weights[n * kInputs + k];
      }
      y.push_back(sum);
    }
  }
  return y;
}

template <typename Value>
double relative_error(const std::vector<double>& exact, const std::vector<Value>& actual) {
  double error = 0, norm = 0;
  for (std::size_t i = 0; i < exact.size(); ++i) {
    error += (exact[i] - actual[i]) * (exact[i] - actual[i]);
    norm += exact[i] * exact[i];
  }
  return std::sqrt(error / norm);
}

// As llama.cpp's Q8_0 (ggml-quants.c, quantize_row_q8_0), but that the scale stays f32.
std::vector<float> rounded_in_blocks_of_32(std::vector<float> x) {
  for (std::size_t block = 0; block < x.size(); block += 32) {
    float largest = 0;
    for (int i = 0; i < 32; ++i) largest = std::max(largest, std::abs(x[block + i]));
    const float scale = largest / 127;
    for (int i = 0; i < 32; ++i) {
      x[block + i] = scale > 0 ? scale * std::round(x[block + i] / scale) : 0;
    }
  }
  return x;
}

int run(device::Isa isa) {
  const ComputeClass classes[] = {ComputeClass::kBf16, ComputeClass::kQ8, ComputeClass::kInt8};
  fmt::print("| activations | weights |");
  for (const ComputeClass compute_class : classes) fmt::print(" {} |", to_string(compute_class));
  fmt::print(" int8 in blocks of 32 |\n|---|---|---|---|---|---|\n");
  for (const Activations& kind : activation_kinds()) {
    for (const DType dtype : kernels::kWeightTypes) {
      std::mt19937 random(1);
      const auto bytes = kernels::random_weights(dtype, kOutputs, kInputs, random);
      const auto x = make_activations(kind, random);
      std::vector<float> weights(std::size_t{kOutputs} * kInputs);
      const std::size_t row_bytes = bytes.size() / kOutputs;
      for (int n = 0; n < kOutputs; ++n) {
        dequantize_row(dtype, bytes.data() + n * row_bytes, kInputs, weights.data() + n * kInputs);
      }
      const std::vector<double> exact = product(weights, x);
      fmt::print("| {} | {} |", kind.name, to_string(dtype));
      for (const ComputeClass compute_class : classes) {
        auto ops = device::Ops::create({compute_class, isa, 1});
        if (!ops.ok()) {
          fmt::print(" - |");
          continue;
        }
        const TensorView view{"weight", dtype, {kOutputs, kInputs}, bytes};
        const auto matrix = (*ops)->make_matrix(view).value();
        std::vector<float> y(exact.size());
        (*ops)->linear(*matrix, x.data(), kRows, y.data());
        fmt::print(" {:.2f} % |", 100 * relative_error(exact, y));
      }
      fmt::print(" {:.2f} % |\n",
                 100 * relative_error(exact, product(weights, rounded_in_blocks_of_32(x))));
    }
  }
  return 0;
}

}  // namespace
}  // namespace tutti

int main(int count, char** words) {
  tutti::device::Isa isa = tutti::device::available_isas().back();
  if (count == 3 && std::string(words[1]) == "--isa" && tutti::device::parse_isa(words[2]).ok()) {
    isa = tutti::device::parse_isa(words[2]).value();
  } else if (count != 1) {
    fmt::print(stderr, "layer_error [--isa ref|avx2|avx512|amx]\n");
    return 2;
  }
  return tutti::run(isa);
}
