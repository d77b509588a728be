// Linear layers as a model sees them: every instruction set and thread count gives one set of bits,
// a row's bits do not depend on its company, and every class agrees with double arithmetic.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/thread_pool.h"
#include "device/panel_linear.h"
#include "device/testing/variants.h"
#include "kernels/op_cases.h"
#include "tensor/dequantize.h"

namespace tutti::device {
namespace {

using kernels::random_floats;
using testing::linear;
using testing::relative_error;
using testing::same_bits;
using testing::Variant;
using testing::variants_of;
using testing::Weight;

// What the classes of small integers take.
constexpr DType kSmallTypes[] = {DType::kQ4_0, DType::kQ4_1, DType::kQ5_0, DType::kQ5_1,
                                 DType::kQ8_0, DType::kQ4_K, DType::kQ5_K, DType::kQ6_K};

bool has_small_integers(DType dtype) { return std::ranges::count(kSmallTypes, dtype) > 0; }

struct LinearShape {
  DType dtype;
  int num_outputs, num_inputs, num_rows;
};

void expect_same_bits_everywhere(ComputeClass compute_class, const LinearShape& shape,
                                 std::mt19937& random) {
  const Weight weight(shape.dtype, shape.num_outputs, shape.num_inputs, random);
  const auto x = random_floats(static_cast<std::size_t>(shape.num_rows) * shape.num_inputs, random);
  const auto bias = random_floats(shape.num_outputs, random);
  std::vector<std::int32_t> order(shape.num_outputs);
  std::iota(order.begin(), order.end(), 0);
  std::shuffle(order.begin(), order.end(), random);
  std::vector<float> law, law_in_order;
  for (const Variant& variant : variants_of(compute_class)) {
    const auto ops = variant.make();
    const auto y = linear(*ops, weight, x, bias);
    const auto permuted = linear(*ops, weight, x, {}, order);
    if (law.empty()) {
      law = y;
      law_in_order = permuted;
    }
    ASSERT_TRUE(same_bits(law, y)) << variant.name() << " " << to_string(shape.dtype);
    ASSERT_TRUE(same_bits(law_in_order, permuted)) << variant.name() << " in order";
    // The last row alone.
    const auto alone = linear(*ops, weight, std::span(x).last(shape.num_inputs), bias);
    ASSERT_TRUE(same_bits(std::span(law).last(shape.num_outputs), alone)) << variant.name();
  }
}

TEST(Ops, SmallIntegersHaveTheSameBitsOnEveryInstructionSetAndThreadCount) {
  std::mt19937 random(1);
  for (const ComputeClass compute_class : {ComputeClass::kQ8, ComputeClass::kInt8}) {
    expect_same_bits_everywhere(compute_class, {DType::kQ4_0, 48, 64, 530}, random);
    expect_same_bits_everywhere(compute_class, {DType::kQ4_K, 777, 1024, 2}, random);
    for (const DType dtype : kSmallTypes) {
      expect_same_bits_everywhere(compute_class, {dtype, 90, 512, 9}, random);
    }
    // What the class does not take goes the bf16 way.
    expect_same_bits_everywhere(compute_class, {DType::kF16, 40, 512, 3}, random);
  }
}

// Shapes of all kinds, all types, rows from 1 to more than a pass over the weights holds.
TEST(Ops, LinearHasTheSameBitsOnEveryInstructionSetAndThreadCount) {
  std::mt19937 random(1);
  std::vector<LinearShape> cases = {{DType::kBF16, 48, 64, 530},
                                    {DType::kF32, 1, 33, 3},
                                    {DType::kF16, 100, 1000, 7},
                                    {DType::kBF16, 777, 96, 2},
                                    {DType::kQ4_K, 33, 4864 / 256 * 256, 2}};
  for (const DType dtype : kernels::kWeightTypes) cases.push_back({dtype, 80, 512, 9});
  for (const LinearShape& shape : cases) {
    expect_same_bits_everywhere(ComputeClass::kBf16, shape, random);
  }
}

TEST(Ops, EveryClassIsNearDoubleArithmetic) {
  std::mt19937 random(2);
  for (const DType dtype : kernels::kWeightTypes) {
    const Weight weight(dtype, 50, 768, random);
    const auto x = random_floats(3 * 768, random);
    const auto bias = random_floats(50, random);
    std::vector<std::int32_t> order(50);
    for (int i = 0; i < 50; ++i) order[i] = 49 - i;
    const auto values = dequantize(weight.view).value();
    std::vector<double> exact;
    for (int m = 0; m < 3; ++m) {
      for (int n = 0; n < 50; ++n) {
        double sum = bias[n];
        for (int k = 0; k < 768; ++k) sum += double{x[m * 768 + k]} * values[order[n] * 768 + k];
        exact.push_back(sum);
      }
    }
    const auto f32 = Variant{ComputeClass::kF32, Isa::kRef, 2}.make();
    EXPECT_LT(relative_error(exact, linear(*f32, weight, x, bias, order)), 1e-7)
        << to_string(dtype);
    const auto bf16 = Variant{ComputeClass::kBf16, available_isas().back(), 2}.make();
    EXPECT_LT(relative_error(exact, linear(*bf16, weight, x, bias, order)), 0.0035)
        << to_string(dtype);
    for (const ComputeClass compute_class : {ComputeClass::kQ8, ComputeClass::kInt8}) {
      const auto ops = Variant{compute_class, available_isas().back(), 2}.make();
      const bool by_int8 =
          compute_class == ComputeClass::kInt8 && dtype != DType::kQ8_0 && dtype != DType::kQ6_K;
      const double bound = !has_small_integers(dtype) ? 0.0035 : by_int8 ? 0.02 : 0.009;
      EXPECT_LT(relative_error(exact, linear(*ops, weight, x, bias, order)), bound)
          << to_string(dtype) << " " << to_string(compute_class);
    }
  }
}

// Who watches over an engine tells a large operation from one that hangs by its pieces.
TEST(Ops, LargeLinearsAreCountedInSmallPieces) {
  constexpr int kRows = 512, kInputs = 28672, kOutputsAPanel = 32;
  EXPECT_LE(max_panels_a_piece(std::size_t{kOutputsAPanel} * kInputs, 1), 32) << "about 32 MiB";
  EXPECT_EQ(max_panels_a_piece(std::size_t{kOutputsAPanel} * kInputs, kRows), 1);
  ThreadPool pool(1);
  WorkCounter counter(1000, pool, 8);
  int begin = 0, end = 0, last = 0, num_pieces = 0;
  for (; counter.take(begin, end); last = end, ++num_pieces) {
    ASSERT_EQ(begin, last);
    ASSERT_LE(end - begin, 8);
  }
  EXPECT_EQ(last, 1000);
  EXPECT_EQ(pool.num_pieces(), static_cast<std::uint64_t>(num_pieces));
}

TEST(Ops, EveryClassCountsThePiecesOfItsLinears) {
  std::mt19937 random(5);
  const Weight weight(DType::kQ8_0, 640, 256, random);
  const auto x = random_floats(2 * 256, random);
  for (const ComputeClass compute_class :
       {ComputeClass::kF32, ComputeClass::kBf16, ComputeClass::kInt8, ComputeClass::kQ8}) {
    for (const Variant& variant : variants_of(compute_class)) {
      const auto ops = variant.make();
      const std::uint64_t before = ops->pool().num_pieces();
      linear(*ops, weight, x);
      EXPECT_GE(ops->pool().num_pieces(), before + 5) << variant.name();
    }
  }
}

TEST(Ops, AGroupOfMatricesIsEachAlone) {
  std::mt19937 random(3);
  const Weight a(DType::kBF16, 96, 256, random), b(DType::kQ4_K, 40, 256, random);
  const auto x = random_floats(5 * 256, random);
  for (const ComputeClass compute_class :
       {ComputeClass::kF32, ComputeClass::kBf16, ComputeClass::kQ8, ComputeClass::kInt8}) {
    const auto ops = Variant{compute_class, available_isas().back(), 2}.make();
    const MatrixPtr first = ops->make_matrix(a.view).value();
    const MatrixPtr second = ops->make_matrix(b.view).value();
    std::vector<float> y(5 * 96), z(5 * 40);
    const Ops::LinearOutput outputs[] = {{first.get(), y.data(), {}}, {second.get(), z.data(), {}}};
    ops->linear_group(outputs, x.data(), 5);
    EXPECT_TRUE(same_bits(y, linear(*ops, a, x)));
    EXPECT_TRUE(same_bits(z, linear(*ops, b, x)));
  }
}

TEST(Ops, EmbedGivesTheRowsOfTheTable) {
  std::mt19937 random(4);
  for (const DType dtype : {DType::kBF16, DType::kF32, DType::kQ8_0, DType::kQ6_K, DType::kQ4_0,
                            DType::kQ5_1, DType::kQ5_K}) {
    const Weight table(dtype, 70, 256, random);
    const auto values = dequantize(table.view).value();
    const TokenId tokens[] = {0, 69, 33, 33};
    for (const ComputeClass compute_class :
         {ComputeClass::kF32, ComputeClass::kBf16, ComputeClass::kQ8}) {
      const auto ops = Variant{compute_class, available_isas().back(), 2}.make();
      const MatrixPtr matrix = ops->make_matrix(table.view).value();
      std::vector<float> y(4 * 256);
      ops->embed(*matrix, tokens, 0.5f, y.data());
      // Half a unit in the last of bf16's eight bits.
      const bool is_exact = compute_class == ComputeClass::kF32 ||
                            (compute_class == ComputeClass::kQ8 && has_small_integers(dtype));
      const float tolerance = is_exact ? 0.0f : 1.0f / 256;
      for (int i = 0; i < 4; ++i) {
        for (int k = 0; k < 256; ++k) {
          const float expected = values[tokens[i] * 256 + k] * 0.5f;
          ASSERT_NEAR(y[i * 256 + k], expected, std::abs(expected) * tolerance);
        }
      }
    }
  }
}

TEST(Ops, WeightsThatAreNoMatrixAreRefusedByName) {
  std::mt19937 random(5);
  const Weight weight(DType::kBF16, 4, 64, random);
  for (const ComputeClass compute_class : {ComputeClass::kF32, ComputeClass::kBf16}) {
    const auto ops = Variant{compute_class, Isa::kRef, 1}.make();
    TensorView view = weight.view;
    view.shape = {256};
    EXPECT_THAT(ops->make_matrix(view).status().message(), ::testing::HasSubstr("test.weight"));
    view = weight.view;
    view.shape = {5, 64};
    EXPECT_EQ(ops->make_matrix(view).status().kind(), ErrorKind::kInvalidArgument);
    view = weight.view;
    view.dtype = DType::kI8;
    EXPECT_EQ(ops->make_matrix(view).status().kind(), ErrorKind::kUnsupported);
    EXPECT_THAT(ops->make_matrix(view).status().message(), ::testing::HasSubstr("I8"));
    const std::int32_t beyond[] = {0, 1, 2, 4};
    EXPECT_FALSE(ops->make_matrix(weight.view, beyond).ok());
    EXPECT_FALSE(ops->make_matrix(weight.view, std::span(beyond).first(2)).ok());
  }
}

TEST(Ops, PlainWeightsAreRepackedAndQuantisedOnesStayMapped) {
  std::mt19937 random(6);
  const auto ops = Variant{ComputeClass::kBf16, available_isas().back(), 1}.make();
  const Weight plain(DType::kBF16, 64, 64, random), quantised(DType::kQ8_0, 64, 64, random);
  EXPECT_EQ(ops->owned_bytes(*ops->make_matrix(plain.view).value()), 64u * 64 * 2);
  EXPECT_EQ(ops->owned_bytes(*ops->make_matrix(quantised.view).value()), 0u);
  EXPECT_TRUE(ops->reads_file(*ops->make_matrix(quantised.view).value()));
}

TEST(Ops, SmallIntegersAreRepackedToAboutTheFilesSize) {
  std::mt19937 random(6);
  const auto ops = Variant{ComputeClass::kQ8, available_isas().back(), 2}.make();
  for (const DType dtype : kSmallTypes) {
    const Weight weight(dtype, 512, 1024, random);
    const MatrixPtr matrix = ops->make_matrix(weight.view).value();
    EXPECT_FALSE(ops->reads_file(*matrix));
    EXPECT_GE(ops->owned_bytes(*matrix), weight.bytes.size());
    EXPECT_LE(ops->owned_bytes(*matrix), weight.bytes.size() * 103 / 100 + 4096)
        << to_string(dtype);
  }
}

// A memory plan made before loading holds: no less than what is taken, and hardly more.
TEST(Ops, WhatAWeightWillTakeIsKnownBeforeItIsRead) {
  std::mt19937 random(6);
  for (const ComputeClass compute :
       {ComputeClass::kF32, ComputeClass::kBf16, ComputeClass::kQ8, ComputeClass::kInt8}) {
    const Isa isa = compute == ComputeClass::kF32 ? Isa::kRef : available_isas().back();
    const auto ops = Variant{compute, isa, 1}.make();
    for (const DType dtype :
         {DType::kF32, DType::kF16, DType::kBF16, DType::kQ4_0, DType::kQ4_1, DType::kQ5_0,
          DType::kQ5_1, DType::kQ8_0, DType::kQ4_K, DType::kQ5_K, DType::kQ6_K}) {
      for (const int num_outputs : {1, 70, 512}) {
        const Weight weight(dtype, num_outputs, 4096, random);
        std::vector<std::int32_t> order(static_cast<std::size_t>(num_outputs));
        std::iota(order.rbegin(), order.rend(), 0);
        const MatrixPtr matrix = ops->make_matrix(weight.view, order).value();
        const std::size_t taken =
            ops->owned_bytes(*matrix) + (ops->reads_file(*matrix) ? weight.view.bytes.size() : 0);
        EXPECT_LE(taken, ops->weight_bytes(weight.view)) << to_string(dtype);
        EXPECT_LE(ops->weight_bytes(weight.view), taken + 64 + sizeof(std::int32_t) * order.size())
            << to_string(dtype);
      }
    }
  }
}

}  // namespace
}  // namespace tutti::device
