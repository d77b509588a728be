// Norms, rope and the operations of single values: one set of bits everywhere, near double
// arithmetic.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "device/testing/variants.h"

namespace tutti::device {
namespace {

using kernels::random_floats;
using testing::relative_error;
using testing::same_bits;
using testing::Variant;
using testing::variants_of;

TEST(Ops, ElementwiseOperationsAgreeWithDoubleAndWithThemselves) {
  std::mt19937 random(8);
  const int rows = 40, width = 576;
  const auto x = random_floats(rows * width, random);
  const auto up = random_floats(rows * width, random);
  const auto weight = random_floats(width, random);
  std::vector<double> norm, silu, sum;
  for (int m = 0; m < rows; ++m) {
    double squares = 0;
    for (int i = 0; i < width; ++i) squares += double{x[m * width + i]} * x[m * width + i];
    for (int i = 0; i < width; ++i) {
      const double value = x[m * width + i];
      norm.push_back(value / std::sqrt(squares / width + 1e-5) * weight[i]);
      silu.push_back(value / (1 + std::exp(-value)) * up[m * width + i]);
      sum.push_back(value + 0.22 * up[m * width + i]);
    }
  }
  std::vector<Variant> variants = variants_of(ComputeClass::kBf16);
  variants.push_back({ComputeClass::kF32, Isa::kRef, 2});
  std::vector<float> law;
  for (const Variant& variant : variants) {
    const auto ops = variant.make();
    std::vector<float> y(x.size());
    ops->rms_norm(x.data(), rows, width, weight, 1e-5f, y.data());
    EXPECT_LT(relative_error(norm, y), 3e-7) << variant.name();
    std::vector<float> all = y;
    ops->silu_mul(x.data(), up.data(), rows, width, y.data());
    EXPECT_LT(relative_error(silu, y), 3e-7) << variant.name();
    all.insert(all.end(), y.begin(), y.end());
    y = x;
    ops->add_scaled(y.data(), up.data(), 0.22f, y.size());
    EXPECT_LT(relative_error(sum, y), 3e-7) << variant.name();
    all.insert(all.end(), y.begin(), y.end());
    if (variant.compute_class == ComputeClass::kF32) continue;
    if (law.empty()) law = all;
    EXPECT_TRUE(same_bits(law, all)) << variant.name();
  }
}

TEST(Ops, RopeRotatesPairsAndLeavesTheRest) {
  std::mt19937 random(9);
  RopeTable table;
  table.half_dim = 24;
  table.num_positions = 50;
  for (int p = 0; p < table.num_positions; ++p) {
    for (int i = 0; i < table.half_dim; ++i) {
      table.cos.push_back(std::cos(p * std::pow(0.5, i)));
      table.sin.push_back(std::sin(p * std::pow(0.5, i)));
    }
  }
  const std::vector<Position> positions = {0, 49, 7};
  const auto x = random_floats(3 * 2 * 64, random);
  std::vector<float> law;
  for (const Variant& variant : variants_of(ComputeClass::kBf16)) {
    auto y = x;
    variant.make()->rope(y.data(), positions, 2, 64, table);
    if (law.empty()) law = y;
    EXPECT_TRUE(same_bits(law, y)) << variant.name();
  }
  auto reference = x;
  Variant{ComputeClass::kF32, Isa::kRef, 1}.make()->rope(reference.data(), positions, 2, 64, table);
  for (std::size_t i = 0; i < x.size(); ++i) ASSERT_NEAR(law[i], reference[i], 1e-6);
  for (int head = 0; head < 2; ++head) {
    const std::size_t at = (2 * 2 + head) * 64 + 3;
    const double angle = 7 * 0.125;
    EXPECT_NEAR(law[at], x[at] * std::cos(angle) - x[at + 24] * std::sin(angle), 1e-6);
    EXPECT_NEAR(law[at + 24], x[at + 24] * std::cos(angle) + x[at] * std::sin(angle), 1e-6);
    EXPECT_EQ(law[(2 * 2 + head) * 64 + 48], x[(2 * 2 + head) * 64 + 48]);
  }
}

}  // namespace
}  // namespace tutti::device
