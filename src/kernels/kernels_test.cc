// Every table against the scalar law, bit for bit, and the law against double arithmetic.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <random>

#include "kernels/bf16_law.h"
#include "kernels/float_mode.h"
#include "kernels/kernel_table.h"
#include "kernels/op_cases.h"
#include "kernels/testing/aligned.h"
#include "kernels/testing/random_data.h"
#include "kernels/testing/same_bits.h"
#include "kernels/testing/tables.h"
#include "tensor/dequantize.h"

namespace tutti::kernels {
namespace {

struct Weights {
  std::vector<std::byte> bytes;
  std::array<const std::byte*, kPanelOutputs> rows{};

  Weights(DType dtype, int num_outputs, int num_inputs, std::mt19937& random)
      : bytes(random_weights(dtype, num_outputs, num_inputs, random)) {
    const std::size_t row_bytes = bytes.size() / num_outputs;
    for (int n = 0; n < num_outputs; ++n) rows[n] = bytes.data() + n * row_bytes;
  }
};

Aligned<std::uint16_t> panel_by(const KernelTable& table, DType dtype, const Weights& weights,
                                int num_inputs) {
  auto panel = aligned<std::uint16_t>(panel_values(num_inputs));
  table.weights_to_panel({dtype, weights.rows.data(), 0, num_inputs, panel.get()});
  return panel;
}

// Rows of x times a panel, by blocks of [0, cut) and then the rest. An odd number of rows writes
// over sums that hold something.
Aligned<float> product_by(const KernelTable& table, const float* x, int num_rows, int num_inputs,
                          const std::uint16_t* panel, int cut) {
  const int blocks = num_blocks(num_inputs);
  auto packed = aligned<std::byte>(table.packed_bytes(num_rows, num_inputs));
  const int row_blocks = (num_rows + table.row_block - 1) / table.row_block;
  const int middle = num_inputs / table.pack_inputs / 2 * table.pack_inputs;
  table.pack_rows(
      {x, num_inputs, num_rows, num_inputs, 0, row_blocks, packed.get(), middle, num_inputs});
  if (middle > 0) {
    table.pack_rows({x, num_inputs, num_rows, num_inputs, 0, row_blocks, packed.get(), 0, middle});
  }
  auto sums = aligned<float>(static_cast<std::size_t>(num_rows) * kPanelOutputs);
  bool from_zero = num_rows % 2 == 1;
  if (from_zero) std::fill_n(sums.get(), num_rows * kPanelOutputs, 7.0f);
  for (const auto& [first, last] : {std::pair{0, cut}, std::pair{cut, blocks}}) {
    if (first == last) continue;
    const auto* weights = panel + static_cast<std::size_t>(first) * kPanelBlockValues;
    table.multiply({.panel = weights,
                    .packed = packed.get(),
                    .num_rows = num_rows,
                    .total_blocks = blocks,
                    .first_block = first,
                    .num_blocks = last - first,
                    .c = sums.get(),
                    .prefetch = reinterpret_cast<const std::byte*>(weights),
                    .prefetch_bytes = 4096,
                    .from_zero = from_zero});
    from_zero = false;
  }
  return sums;
}

class Kernels : public ::testing::TestWithParam<NamedTable> {
 protected:
  const KernelTable& table() const { return *GetParam().table; }
  const KernelTable& law() const { return ref_kernels(); }
  std::mt19937 random_{20240607};
  ScopedFlushDenormals flush_;
};

TEST_P(Kernels, WeightsOfEveryTypeBecomeTheSamePanels) {
  for (const DType dtype : kWeightTypes) {
    for (const int num_inputs : {256, 768, 40, 8}) {
      if (num_inputs % dtype_info(dtype).block_size != 0) continue;
      const Weights weights(dtype, num_inputs == 768 ? 32 : 19, num_inputs, random_);
      const auto expected = panel_by(law(), dtype, weights, num_inputs);
      const auto actual = panel_by(table(), dtype, weights, num_inputs);
      EXPECT_EQ(std::memcmp(expected.get(), actual.get(), panel_values(num_inputs) * 2), 0)
          << to_string(dtype) << " " << num_inputs;
    }
  }
}

TEST_P(Kernels, AwkwardFloatsRoundTheSame) {
  std::vector<float> values = random_floats(32 * 64, random_, true);
  const std::uint32_t special[] = {0x7f800000, 0xff800000, 0x7fc00001, 0xffa00000, 0x007fffff,
                                   0x807fffff, 0x7f7fffff, 0x00800000, 0x3f808000, 0x3f818000};
  for (std::size_t i = 0; i < std::size(special); ++i) {
    values[i] = std::bit_cast<float>(special[i]);
  }
  std::array<const std::byte*, kPanelOutputs> rows;
  for (int n = 0; n < kPanelOutputs; ++n) {
    rows[n] = reinterpret_cast<const std::byte*>(values.data() + n * 64);
  }
  const auto expected = aligned<std::uint16_t>(panel_values(64));
  const auto actual = aligned<std::uint16_t>(panel_values(64));
  law().weights_to_panel({DType::kF32, rows.data(), 0, 64, expected.get()});
  table().weights_to_panel({DType::kF32, rows.data(), 0, 64, actual.get()});
  EXPECT_EQ(std::memcmp(expected.get(), actual.get(), panel_values(64) * 2), 0);
}

TEST_P(Kernels, ChunksOfAPanelAreThePanel) {
  for (const DType dtype : {DType::kBF16, DType::kQ8_0, DType::kQ4_K, DType::kQ6_K}) {
    const Weights weights(dtype, 32, 1024, random_);
    const auto whole = panel_by(law(), dtype, weights, 1024);
    const auto parts = aligned<std::uint16_t>(panel_values(1024));
    for (int first = 0; first < 1024; first += 256) {
      table().weights_to_panel(
          {dtype, weights.rows.data(), first, 256, parts.get() + panel_values(first)});
    }
    EXPECT_EQ(std::memcmp(whole.get(), parts.get(), panel_values(1024) * 2), 0) << to_string(dtype);
  }
}

// Rows, inputs and cuts at random; a row alone has the bits that it has among others.
TEST_P(Kernels, ProductsHaveTheBitsOfTheLaw) {
  for (int round = 0; round < 60; ++round) {
    const int num_rows = round % 6 == 0 ? 1 + random_() % 150 : 1 + random_() % 20;
    const int num_inputs = round % 20 == 19 ? 14336 : 1 + random_() % 700;
    const Weights weights(DType::kF32, 1 + random_() % 32, num_inputs, random_);
    const auto panel = panel_by(law(), DType::kF32, weights, num_inputs);
    const auto x =
        random_floats(static_cast<std::size_t>(num_rows) * num_inputs, random_, round % 2 == 0);
    const int blocks = num_blocks(num_inputs);
    const int cut = random_() % (blocks + 1);
    const auto expected = product_by(law(), x.data(), num_rows, num_inputs, panel.get(), 0);
    const auto actual = product_by(table(), x.data(), num_rows, num_inputs, panel.get(), cut);
    ASSERT_TRUE(
        same_bits(expected.get(), actual.get(), static_cast<std::size_t>(num_rows) * kPanelOutputs))
        << num_rows << " rows of " << num_inputs << ", cut at block " << cut;
    const int row = random_() % num_rows;
    const auto alone = product_by(table(), x.data() + static_cast<std::size_t>(row) * num_inputs, 1,
                                  num_inputs, panel.get(), 0);
    ASSERT_TRUE(same_bits(expected.get() + row * kPanelOutputs, alone.get(), kPanelOutputs));
  }
}

// The cases of the benchmark, one panel of each.
TEST_P(Kernels, BenchmarkedShapesHaveTheBitsOfTheLaw) {
  for (const LinearCase& shape : kLinearCases) {
    const int num_outputs = std::min(shape.num_outputs, kPanelOutputs);
    const Weights weights(DType::kBF16, num_outputs, shape.num_inputs, random_);
    const auto panel = panel_by(law(), DType::kBF16, weights, shape.num_inputs);
    for (const int num_rows : kRowCounts) {
      if (static_cast<std::int64_t>(num_rows) * shape.num_inputs > 400000) continue;
      const auto x = random_floats(static_cast<std::size_t>(num_rows) * shape.num_inputs, random_);
      const auto expected = product_by(law(), x.data(), num_rows, shape.num_inputs, panel.get(), 0);
      const auto actual = product_by(table(), x.data(), num_rows, shape.num_inputs, panel.get(), 1);
      ASSERT_TRUE(same_bits(expected.get(), actual.get(),
                            static_cast<std::size_t>(num_rows) * kPanelOutputs))
          << shape.name << ", " << num_rows << " rows";
    }
  }
}

TEST_P(Kernels, ElementwiseOperationsHaveTheBitsOfTheLaw) {
  for (const int width : {1, 15, 16, 17, 64, 576, 2049}) {
    const auto x = random_floats(width, random_, true);
    const auto w = random_floats(width, random_);
    std::vector<float> expected(width), actual(width);
    law().rms_norm(x.data(), width, w.data(), 1e-5f, expected.data());
    table().rms_norm(x.data(), width, w.data(), 1e-5f, actual.data());
    EXPECT_TRUE(same_bits(expected.data(), actual.data(), width)) << "rms_norm " << width;
    law().silu_mul(x.data(), w.data(), width, expected.data());
    table().silu_mul(x.data(), w.data(), width, actual.data());
    EXPECT_TRUE(same_bits(expected.data(), actual.data(), width)) << "silu_mul " << width;
    expected = actual = w;
    law().add_scaled(expected.data(), x.data(), 0.22f, width);
    table().add_scaled(actual.data(), x.data(), 0.22f, width);
    EXPECT_TRUE(same_bits(expected.data(), actual.data(), width)) << "add_scaled " << width;
  }
  for (const auto& [head_dim, half_dim] : {std::pair{64, 32}, {80, 40}, {128, 64}, {96, 16}}) {
    const auto cosine = random_floats(half_dim, random_);
    const auto sine = random_floats(half_dim, random_);
    const float* cos_sin[2] = {cosine.data(), sine.data()};
    auto expected = random_floats(static_cast<std::size_t>(3) * head_dim, random_, true);
    auto actual = expected;
    law().rope(expected.data(), 3, head_dim, half_dim, cos_sin);
    table().rope(actual.data(), 3, head_dim, half_dim, cos_sin);
    EXPECT_TRUE(same_bits(expected.data(), actual.data(), expected.size())) << "rope " << head_dim;
  }
}

TEST_P(Kernels, SiluIsTheLawAtEveryMagnitude) {
  std::vector<float> gate;
  for (float x = -200.0f; x < 200.0f; x += 0.0371f) gate.push_back(x);
  const std::vector<float> up(gate.size(), 1.0f);
  std::vector<float> expected(gate.size()), actual(gate.size());
  law().silu_mul(gate.data(), up.data(), gate.size(), expected.data());
  table().silu_mul(gate.data(), up.data(), gate.size(), actual.data());
  EXPECT_TRUE(same_bits(expected.data(), actual.data(), gate.size()));
}

INSTANTIATE_TEST_SUITE_P(Tables, Kernels, ::testing::ValuesIn(tables_under_test()),
                         [](const auto& info) { return info.param.name; });
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(Kernels);

// bf16 has 8 bits of precision: rounding both factors costs 2^-9 / sqrt(3) each, 0.0016 together,
// of which random signs leave the same share of the sum.
TEST(Law, ProductsAreNearDoubleArithmetic) {
  const ScopedFlushDenormals flush;
  std::mt19937 random(7);
  for (const DType dtype : kWeightTypes) {
    const int num_rows = 3, num_inputs = 2048;
    const Weights weights(dtype, kPanelOutputs, num_inputs, random);
    const auto panel = panel_by(ref_kernels(), dtype, weights, num_inputs);
    const auto x = random_floats(static_cast<std::size_t>(num_rows) * num_inputs, random);
    const auto actual = product_by(ref_kernels(), x.data(), num_rows, num_inputs, panel.get(), 0);
    std::vector<double> exact;
    std::vector<float> row(num_inputs);
    for (int m = 0; m < num_rows; ++m) {
      for (int n = 0; n < kPanelOutputs; ++n) {
        dequantize_row(dtype, weights.rows[n], num_inputs, row.data());
        double sum = 0;
        for (int k = 0; k < num_inputs; ++k) sum += double{x[m * num_inputs + k]} * row[k];
        exact.push_back(sum);
      }
    }
    EXPECT_LT(relative_error(exact, actual.get()), 0.0035) << to_string(dtype);
  }
}

TEST(Law, ExponentialIsWithinTwoUnitsInTheLastPlace) {
  EXPECT_EQ(exp_law(0.0f), 1.0f);
  EXPECT_EQ(exp_law(-0.0f), 1.0f);
  EXPECT_EQ(exp_law(-1e30f), 0.0f);
  EXPECT_TRUE(std::isnan(exp_law(NAN)));
  for (float x = -86.9f; x < 87.9f; x += 0.00931f) {
    const double exact = std::exp(static_cast<double>(x));
    ASSERT_LT(std::abs(exp_law(x) - exact) / exact, 2.4e-7) << x;
  }
}

TEST(Law, PowerOfTwoIsWithinTwoUnitsInTheLastPlace) {
  EXPECT_EQ(power_law(0.0f), 1.0f);
  EXPECT_EQ(power_law(-0.0f), 1.0f);
  EXPECT_EQ(power_law(-1e30f), std::exp2(-125.0f));
  EXPECT_EQ(power_law(-INFINITY), std::exp2(-125.0f));
  EXPECT_TRUE(std::isnan(power_law(NAN)));
  for (float x = -124.9f; x < 0.0f; x += 0.00931f) {
    const double exact = std::exp2(static_cast<double>(x));
    ASSERT_LT(std::abs(power_law(x) - exact) / exact, 2.4e-7) << x;
  }
}

}  // namespace
}  // namespace tutti::kernels
