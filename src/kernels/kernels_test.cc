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
#include "kernels/kv_page.h"
#include "kernels/op_cases.h"
#include "kernels/testing/aligned.h"
#include "kernels/testing/random_data.h"
#include "kernels/testing/tables.h"
#include "tensor/dequantize.h"

namespace tutti::kernels {
namespace {

::testing::AssertionResult same_bits(const float* expected, const float* actual,
                                     std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) {
    if (std::bit_cast<std::uint32_t>(expected[i]) != std::bit_cast<std::uint32_t>(actual[i])) {
      return ::testing::AssertionFailure()
             << "value " << i << ": " << expected[i] << " by the law, " << actual[i];
    }
  }
  return ::testing::AssertionSuccess();
}

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

// Rows of x times a panel, by blocks of [0, cut) and then the rest.
Aligned<float> product_by(const KernelTable& table, const float* x, int num_rows, int num_inputs,
                          const std::uint16_t* panel, int cut) {
  const int blocks = num_blocks(num_inputs);
  auto packed = aligned<std::byte>(table.packed_bytes(num_rows, num_inputs));
  table.pack_rows({x, num_inputs, num_rows, num_inputs, 0,
                   (num_rows + table.row_block - 1) / table.row_block, packed.get()});
  auto sums = aligned<float>(static_cast<std::size_t>(num_rows) * kPanelOutputs);
  for (const auto& [first, last] : {std::pair{0, cut}, std::pair{cut, blocks}}) {
    if (first == last) continue;
    const auto* weights = panel + static_cast<std::size_t>(first) * kPanelBlockValues;
    table.multiply({weights, packed.get(), num_rows, blocks, first, last - first, sums.get(),
                    reinterpret_cast<const std::byte*>(weights), 4096});
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

// Keys and values of one head over shuffled blocks, and queries.
struct AttentionInput {
  AttentionInput(const AttentionCase& shape, std::mt19937& random)
      : shape(shape), last(shape.first_position + shape.num_rows - 1) {
    const int num_pages = last / kBlockSize + 1;
    for (int i = 0; i < num_pages; ++i) block_table.emplace_back(i + 2);
    std::shuffle(block_table.begin(), block_table.end(), random);
    pages = aligned<std::uint16_t>((num_pages + 2) * 2 * page_values(shape.head_dim));
    for (Position p = 0; p <= last; ++p) {
      const auto key = random_floats(shape.head_dim, random);
      const auto value = random_floats(shape.head_dim, random);
      std::uint16_t* page =
          pages.get() + block_table[p / kBlockSize].value * 2 * page_values(shape.head_dim);
      store_key(page, p % kBlockSize, key.data(), shape.head_dim);
      store_value(page + page_values(shape.head_dim), p % kBlockSize, value.data(), shape.head_dim);
      keys.push_back(key);
      values.push_back(value);
    }
    row_values = shape.group * shape.head_dim;
    q = random_floats(static_cast<std::size_t>(shape.num_rows) * row_values, random);
  }

  // Rows [first_row, first_row + num_rows) at once.
  void run(const KernelTable& table, int first_row, int num_rows, float* out) const {
    auto scratch = aligned<std::byte>(attention_scratch_bytes());
    table.attention({.pages = pages.get(),
                     .value_offset = page_values(shape.head_dim),
                     .block_stride = 2 * page_values(shape.head_dim),
                     .block_table = block_table.data(),
                     .head_dim = shape.head_dim,
                     .group = shape.group,
                     .first_position = shape.first_position + first_row,
                     .num_positions = num_rows,
                     .scale = 0.125f,
                     .sliding_window = shape.sliding_window,
                     .q = q.data() + first_row * row_values,
                     .out = out + first_row * row_values,
                     .row_stride = row_values},
                    scratch.get());
  }

  AttentionCase shape;
  Position last;
  int row_values;
  std::vector<BlockId> block_table;
  Aligned<std::uint16_t> pages;
  std::vector<std::vector<float>> keys, values;
  std::vector<float> q;
};

// The last rows of every case, in groups as large as they may be.
TEST_P(Kernels, AttentionHasTheBitsOfTheLaw) {
  for (AttentionCase shape : kAttentionCases) {
    const int rows_at_once = kMaxAttentionRows / shape.group;
    const int kept = std::min(shape.num_rows, 2 * rows_at_once + 1);
    shape.first_position += shape.num_rows - kept;
    shape.num_rows = kept;
    const AttentionInput input(shape, random_);
    std::vector<float> expected(input.q.size()), actual(input.q.size());
    for (int row = 0; row < kept; ++row) input.run(law(), row, 1, expected.data());
    for (int row = 0; row < kept; row += rows_at_once) {
      input.run(table(), row, std::min(rows_at_once, kept - row), actual.data());
    }
    EXPECT_TRUE(same_bits(expected.data(), actual.data(), expected.size())) << shape.name;
  }
}

TEST_P(Kernels, AttentionOfAnyGroupingHasTheBitsOfTheLaw) {
  for (int round = 0; round < 25; ++round) {
    const int group = 1 + random_() % 9;
    const AttentionCase shape{"random",
                              1,
                              group,
                              static_cast<int>(8 * (1 + random_() % 32)),
                              1,
                              static_cast<int>(random_() % 300),
                              1 + static_cast<int>(random_() % 60),
                              round % 2 == 0 ? 0 : 1 + static_cast<int>(random_() % 100)};
    const AttentionInput input(shape, random_);
    std::vector<float> expected(input.q.size()), actual(input.q.size());
    for (int row = 0; row < shape.num_rows; ++row) input.run(law(), row, 1, expected.data());
    for (int row = 0; row < shape.num_rows;) {
      const int most = std::min(kMaxAttentionRows / group, shape.num_rows - row);
      const int rows = 1 + static_cast<int>(random_() % most);
      input.run(table(), row, rows, actual.data());
      row += rows;
    }
    ASSERT_TRUE(same_bits(expected.data(), actual.data(), expected.size()))
        << "group " << group << " head_dim " << shape.head_dim << " first " << shape.first_position
        << " rows " << shape.num_rows << " window " << shape.sliding_window;
  }
}

INSTANTIATE_TEST_SUITE_P(Tables, Kernels, ::testing::ValuesIn(tables_under_test()),
                         [](const auto& info) { return info.param.name; });
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(Kernels);

double relative_error(const std::vector<double>& exact, const float* actual) {
  double error = 0, norm = 0;
  for (std::size_t i = 0; i < exact.size(); ++i) {
    error += (exact[i] - actual[i]) * (exact[i] - actual[i]);
    norm += exact[i] * exact[i];
  }
  return std::sqrt(error / norm);
}

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

TEST(Law, AttentionIsNearDoubleArithmetic) {
  const ScopedFlushDenormals flush;
  std::mt19937 random(7);
  for (const int window : {0, 70}) {
    const AttentionCase shape{"law", 1, 2, 64, 1, 200, 5, window};
    const AttentionInput input(shape, random);
    std::vector<float> actual(input.q.size());
    for (int row = 0; row < shape.num_rows; ++row) {
      input.run(ref_kernels(), row, 1, actual.data());
    }
    std::vector<double> exact;
    for (int row = 0; row < shape.num_rows; ++row) {
      for (int head = 0; head < shape.group; ++head) {
        const float* q = input.q.data() + (row * shape.group + head) * shape.head_dim;
        const Position last = shape.first_position + row;
        std::vector<double> sums(shape.head_dim, 0.0);
        double total = 0;
        for (Position p = window > 0 ? last - window + 1 : 0; p <= last; ++p) {
          double score = 0;
          for (int d = 0; d < shape.head_dim; ++d) score += double{q[d]} * input.keys[p][d];
          const double weight = std::exp(score * 0.125);
          total += weight;
          for (int d = 0; d < shape.head_dim; ++d) sums[d] += weight * input.values[p][d];
        }
        for (const double sum : sums) exact.push_back(sum / total);
      }
    }
    EXPECT_LT(relative_error(exact, actual.data()), 0.005) << "window " << window;
  }
}

TEST(Law, ExponentialIsWithinTwoUnitsInTheLastPlace) {
  EXPECT_EQ(exp_law(0.0f), 1.0f);
  EXPECT_EQ(exp_law(-0.0f), 1.0f);
  EXPECT_EQ(exp_law(-1e30f), 0.0f);
  for (float x = -86.9f; x < 87.9f; x += 0.00931f) {
    const double exact = std::exp(static_cast<double>(x));
    ASSERT_LT(std::abs(exp_law(x) - exact) / exact, 2.4e-7) << x;
  }
}

}  // namespace
}  // namespace tutti::kernels
