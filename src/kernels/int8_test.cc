// The int8 class: every instruction set against the scalar law, bit for bit, and the law against
// double arithmetic.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <new>
#include <random>

#include "kernels/float_mode.h"
#include "kernels/int8_weights.h"
#include "kernels/op_cases.h"
#include "kernels/testing/random_data.h"
#include "kernels/testing/tables.h"
#include "tensor/dequantize.h"

namespace tutti::kernels {
namespace {

constexpr DType kTypes[] = {DType::kQ4_0, DType::kQ4_1, DType::kQ5_0,
                            DType::kQ5_1, DType::kQ4_K, DType::kQ5_K};

struct AlignedDelete {
  void operator()(std::byte* p) const { ::operator delete[](p, std::align_val_t{64}); }
};
using Bytes = std::unique_ptr<std::byte[], AlignedDelete>;

// Zeroed, aligned to 64, of exactly `count` bytes, so that sanitizers see what is beyond.
Bytes aligned_bytes(std::size_t count) {
  void* memory = ::operator new[](count, std::align_val_t{64});
  std::memset(memory, 0, count);
  return Bytes(static_cast<std::byte*>(memory));
}

// A matrix in the class's panels.
struct PackedMatrix {
  DType dtype;
  int num_outputs, num_inputs;
  std::vector<std::byte> stored;
  std::size_t panel_bytes;
  Bytes panels;

  PackedMatrix(DType dtype, int num_outputs, int num_inputs, std::mt19937& random)
      : dtype(dtype),
        num_outputs(num_outputs),
        num_inputs(num_inputs),
        stored(random_weights(dtype, num_outputs, num_inputs, random)),
        panel_bytes(int8_panel_bytes(dtype, num_inputs)),
        panels(aligned_bytes(panel_bytes * num_panels(num_outputs))) {
    for (int panel = 0; panel < num_panels(num_outputs); ++panel) {
      const std::byte* rows[kPanelOutputs] = {};
      for (int i = 0; i < kPanelOutputs; ++i) {
        const int n = panel * kPanelOutputs + i;
        if (n < num_outputs) rows[i] = row(n);
      }
      int8_pack_weights({dtype, rows, num_inputs, panels.get() + panel * panel_bytes});
    }
  }

  const std::byte* row(int n) const {
    return stored.data() + stored.size() / num_outputs * static_cast<std::size_t>(n);
  }
};

constexpr float kUntouched = 12345.0f;

// [num_rows, num_outputs] and one column more, which stays untouched; `panels_at_once` a call.
std::vector<float> product_by(const QuantizedKernels& kernels, const PackedMatrix& matrix,
                              std::span<const float> x, int panels_at_once) {
  const int num_rows = static_cast<int>(x.size()) / matrix.num_inputs;
  const auto packed = aligned_bytes(kernels.packed_bytes(num_rows, matrix.num_inputs));
  const int row_blocks = (num_rows + kernels.row_block - 1) / kernels.row_block;
  for (int block = row_blocks - 1; block >= 0; --block) {
    kernels.pack_rows(
        {x.data(), matrix.num_inputs, num_rows, matrix.num_inputs, block, block + 1, packed.get()});
  }
  const auto scratch = aligned_bytes(kernels.scratch_bytes(num_rows, matrix.num_inputs));
  const int stride = matrix.num_outputs + 1;
  std::vector<float> y(static_cast<std::size_t>(num_rows) * stride, kUntouched);
  const int total = num_panels(matrix.num_outputs);
  for (int first = 0; first < total; first += panels_at_once) {
    const int count = std::min(panels_at_once, total - first);
    const int output = first * kPanelOutputs;
    kernels.multiply({.dtype = matrix.dtype,
                      .panels = matrix.panels.get() + first * matrix.panel_bytes,
                      .num_panels = count,
                      .num_outputs = std::min(count * kPanelOutputs, matrix.num_outputs - output),
                      .packed = packed.get(),
                      .num_rows = num_rows,
                      .num_inputs = matrix.num_inputs,
                      .y = y.data() + output,
                      .row_stride = stride,
                      .scratch = scratch.get()});
  }
  return y;
}

bool same_bits(std::span<const float> a, std::span<const float> b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size_bytes()) == 0;
}

class Int8Kernels : public ::testing::TestWithParam<NamedQuantizedTable> {
 protected:
  const QuantizedKernels& kernels() const { return *GetParam().table; }

  void expect_the_law(const PackedMatrix& matrix, int num_rows, bool awkward = false) {
    const auto x =
        random_floats(static_cast<std::size_t>(num_rows) * matrix.num_inputs, random_, awkward);
    const int all = num_panels(matrix.num_outputs);
    const auto law = product_by(ref_int8_kernels(), matrix, x, all);
    const auto y = product_by(kernels(), matrix, x, 1 + static_cast<int>(random_() % all));
    ASSERT_TRUE(same_bits(law, y)) << to_string(matrix.dtype) << ": " << num_rows << " rows, "
                                   << matrix.num_outputs << " outputs of " << matrix.num_inputs;
    const std::size_t row = random_() % num_rows;
    const auto alone = product_by(
        kernels(), matrix, std::span(x).subspan(row * matrix.num_inputs, matrix.num_inputs), all);
    const std::size_t stride = matrix.num_outputs + 1;
    ASSERT_TRUE(same_bits(std::span(law).subspan(row * stride, stride), alone))
        << to_string(matrix.dtype) << ": row " << row << " of " << num_rows;
  }

  std::mt19937 random_{20240711};
  ScopedFlushDenormals flush_;
};

TEST_P(Int8Kernels, EveryNumberOfRowsHasTheBitsOfTheLaw) {
  int index = 0;
  for (int num_rows = 1; num_rows <= 40; ++num_rows, ++index) {
    const PackedMatrix matrix(kTypes[index % std::size(kTypes)], 33, 512, random_);
    expect_the_law(matrix, num_rows);
  }
  for (const int num_rows : {47, 48, 49, 64, 65, 95, 96, 97, 113, 128, 511, 512}) {
    const PackedMatrix matrix(kTypes[++index % std::size(kTypes)], 20, 256, random_);
    expect_the_law(matrix, num_rows);
  }
}

TEST_P(Int8Kernels, RandomShapesHaveTheBitsOfTheLaw) {
  for (int round = 0; round < 60; ++round) {
    const DType dtype = kTypes[round % std::size(kTypes)];
    const int block = dtype_info(dtype).block_size;
    const int num_inputs =
        block * (1 + static_cast<int>(random_() % ((round % 10 == 9 ? 14336 : 1500) / block)));
    const int num_outputs = 1 + static_cast<int>(random_() % 100);
    const int most_rows = std::clamp(4000000 / (num_inputs * num_outputs), 1, 150);
    const PackedMatrix matrix(dtype, num_outputs, num_inputs, random_);
    expect_the_law(matrix, 1 + static_cast<int>(random_() % most_rows), round % 2 == 0);
  }
}

TEST_P(Int8Kernels, LongRowsInManyPassesHaveTheBitsOfTheLaw) {
  const PackedMatrix four(DType::kQ4_K, 33, 14336, random_);
  expect_the_law(four, 5);
  // More rows than one pass over the panel takes.
  const PackedMatrix five(DType::kQ5_1, 1, 14336, random_);
  expect_the_law(five, 100);
}

TEST_P(Int8Kernels, RowsOfZerosAndTinyOnesHaveTheBitsOfTheLaw) {
  const PackedMatrix matrix(DType::kQ4_1, 32, 768, random_);
  std::vector<float> x(20 * 768, 0.0f);
  for (int row = 1; row < 20; ++row) {
    for (int k = 0; k < 768; ++k) {
      const float sign = (k + row) % 2 == 0 ? 1.0f : -1.0f;
      x[row * 768 + k] = sign * std::ldexp(1.0f + 0.001f * static_cast<float>(k), -7 * row);
    }
  }
  const auto law = product_by(ref_int8_kernels(), matrix, x, 1);
  EXPECT_TRUE(same_bits(law, product_by(kernels(), matrix, x, 1)));
  for (int n = 0; n < 32; ++n) EXPECT_EQ(law[n], 0.0f);
}

INSTANTIATE_TEST_SUITE_P(Tables, Int8Kernels, ::testing::ValuesIn(int8_tables_under_test()),
                         [](const auto& info) { return info.param.name; });
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(Int8Kernels);

TEST(Int8Law, TablesHoldWeightsRoundedToNearestEven) {
  for (int code = -127; code <= 127; ++code) {
    for (int q = 0; q < 32; ++q) {
      const auto five = static_cast<int>(std::nearbyint(code * (q - 16) / 16.0));
      EXPECT_EQ(kInt8Weights<5>.rows[static_cast<std::uint8_t>(code)][q], five);
      EXPECT_EQ(int8_weight(5, code, q), five);
      if (q >= 16) continue;
      const auto four = static_cast<int>(std::nearbyint(code * (q - 8) / 8.0));
      EXPECT_EQ(kInt8Weights<4>.rows[static_cast<std::uint8_t>(code)][q], four);
      EXPECT_EQ(static_cast<std::uint8_t>(
                    kInt8WeightsPlus128<4>.rows[static_cast<std::uint8_t>(code)][q]),
                four + 128);
    }
  }
}

TEST(Int8Law, OnlyTypesOfFiveBitsAndFewerAreTaken) {
  for (const DType dtype : kWeightTypes) {
    const bool known = std::find(std::begin(kTypes), std::end(kTypes), dtype) != std::end(kTypes);
    EXPECT_EQ(int8_takes(dtype), known) << to_string(dtype);
  }
}

double relative_error(std::span<const double> exact, std::span<const float> actual) {
  double error = 0, norm = 0;
  for (std::size_t i = 0; i < exact.size(); ++i) {
    error += (exact[i] - actual[i]) * (exact[i] - actual[i]);
    norm += exact[i] * exact[i];
  }
  return std::sqrt(error / norm);
}

// Rows whose blocks have about the same scale, as a model's have: normal weights, quantised.
std::vector<float> dequantised_rows(const PackedMatrix& matrix) {
  std::vector<float> weights(static_cast<std::size_t>(matrix.num_outputs) * matrix.num_inputs);
  for (int n = 0; n < matrix.num_outputs; ++n) {
    dequantize_row(matrix.dtype, matrix.row(n), matrix.num_inputs,
                   weights.data() + static_cast<std::size_t>(n) * matrix.num_inputs);
  }
  return weights;
}

TEST(Int8Law, UnpackedRowsAreNearTheFile) {
  std::mt19937 random(5);
  for (const DType dtype : kTypes) {
    const PackedMatrix matrix(dtype, 40, 1024, random);
    const std::vector<float> weights = dequantised_rows(matrix);
    const std::vector<double> exact(weights.begin(), weights.end());
    std::vector<float> unpacked(weights.size());
    for (int n = 0; n < 40; ++n) {
      int8_unpack_row(dtype, matrix.panels.get() + n / 32 * matrix.panel_bytes, n % 32, 1024,
                      unpacked.data() + n * 1024);
    }
    EXPECT_LT(relative_error(exact, unpacked), 0.005) << to_string(dtype);
  }
}

// Error of the products of one matrix with `x`.
double error_of_products(const PackedMatrix& matrix, std::span<const float> x) {
  const ScopedFlushDenormals flush;
  const std::vector<float> weights = dequantised_rows(matrix);
  const auto y = product_by(ref_int8_kernels(), matrix, x, 1);
  const std::size_t num_inputs = matrix.num_inputs;
  std::vector<double> exact;
  std::vector<float> actual;
  for (std::size_t m = 0; m < x.size() / num_inputs; ++m) {
    for (int n = 0; n < matrix.num_outputs; ++n) {
      double sum = 0;
      for (std::size_t k = 0; k < num_inputs; ++k) {
        sum += double{x[m * num_inputs + k]} * weights[n * num_inputs + k];
      }
      exact.push_back(sum);
      actual.push_back(y[m * (matrix.num_outputs + 1) + n]);
    }
  }
  return relative_error(exact, actual);
}

// Scales of random_weights are spread from 0 to the largest, which is harder on codes relative to
// the largest than a model's weights are.
TEST(Int8Law, ProductsAreNearDoubleArithmetic) {
  std::mt19937 random(7);
  for (const DType dtype : kTypes) {
    const PackedMatrix matrix(dtype, 32, 4096, random);
    const auto x = random_floats(4 * 4096, random);
    const double error = error_of_products(matrix, x);
    EXPECT_LT(error, 0.013) << to_string(dtype);
    RecordProperty(std::string(to_string(dtype)), std::to_string(error));
  }
}

// One channel in a hundred fifty times larger: what activations of real models look like at worst.
TEST(Int8Law, OutlyingChannelsCostAFewPercent) {
  std::mt19937 random(8);
  std::vector<float> gain(4096, 1.0f);
  for (float& g : gain) g = random() % 100 == 0 ? 50.0f : 1.0f;
  for (const DType dtype : kTypes) {
    const PackedMatrix matrix(dtype, 32, 4096, random);
    auto x = random_floats(4 * 4096, random);
    for (std::size_t i = 0; i < x.size(); ++i) x[i] *= gain[i % 4096];
    const double error = error_of_products(matrix, x);
    EXPECT_LT(error, 0.035) << to_string(dtype);
    RecordProperty(std::string(to_string(dtype)), std::to_string(error));
  }
}

}  // namespace
}  // namespace tutti::kernels
