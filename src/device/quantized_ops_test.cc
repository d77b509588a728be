// Ops of the classes that multiply small integers: the bits of a row are the same on every
// instruction set and thread count and in any company, and near double arithmetic.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include "device/isa.h"
#include "device/ops.h"
#include "device/testing/variants.h"
#include "tensor/dequantize.h"

namespace tutti::device {
namespace {

using kernels::random_floats;
using testing::same_bits;
using testing::Weight;

std::unique_ptr<Ops> make_ops(ComputeClass compute_class, Isa isa, int num_threads) {
  return std::move(Ops::create({compute_class, isa, num_threads}).value());
}

class QuantizedOps : public ::testing::TestWithParam<ComputeClass> {
 protected:
  std::mt19937 random_{17};
};

// Two quantised matrices, one of Q8_0, which class int8 leaves to q8, and one of a type that every
// class leaves to bf16, biases, and a row order.
struct Group {
  Weight first, plain, second, bytes;
  std::vector<std::int32_t> order;
  std::vector<float> bias;

  Group(DType dtype, int num_inputs, std::mt19937& random)
      : first(dtype, 100, num_inputs, random),
        plain(DType::kBF16, 40, num_inputs, random),
        second(dtype, 33, num_inputs, random),
        bytes(DType::kQ8_0, 27, num_inputs, random),
        order(100),
        bias(random_floats(33, random)) {
    std::iota(order.begin(), order.end(), 0);
    std::shuffle(order.begin(), order.end(), random);
  }

  // [rows, 100 + 40 + 33 + 27]
  std::vector<float> multiply(Ops& ops, std::span<const float> x) const {
    const int num_rows = static_cast<int>(x.size() / first.view.shape[1]);
    const MatrixPtr matrices[] = {
        ops.make_matrix(first.view, order).value(), ops.make_matrix(plain.view).value(),
        ops.make_matrix(second.view).value(), ops.make_matrix(bytes.view).value()};
    std::vector<float> a(100 * num_rows, NAN), b(40 * num_rows, NAN), c(33 * num_rows, NAN),
        d(27 * num_rows, NAN);
    const Ops::LinearOutput outputs[] = {{matrices[0].get(), a.data(), {}},
                                         {matrices[1].get(), b.data(), {}},
                                         {matrices[3].get(), d.data(), {}},
                                         {matrices[2].get(), c.data(), bias}};
    ops.linear_group(outputs, x.data(), num_rows);
    std::vector<float> rows;
    for (int m = 0; m < num_rows; ++m) {
      rows.insert(rows.end(), a.begin() + 100 * m, a.begin() + 100 * (m + 1));
      rows.insert(rows.end(), b.begin() + 40 * m, b.begin() + 40 * (m + 1));
      rows.insert(rows.end(), c.begin() + 33 * m, c.begin() + 33 * (m + 1));
      rows.insert(rows.end(), d.begin() + 27 * m, d.begin() + 27 * (m + 1));
    }
    return rows;
  }
};

TEST_P(QuantizedOps, AGroupHasTheSameBitsOnEveryInstructionSetAndThreadCount) {
  constexpr int kWidth = 200;
  for (const DType dtype : {DType::kQ4_0, DType::kQ4_K, DType::kQ5_1, DType::kQ6_K}) {
    const int num_inputs = dtype_info(dtype).block_size == 256 ? 1024 : 672;
    const Group group(dtype, num_inputs, random_);
    const auto x = random_floats(static_cast<std::size_t>(19) * num_inputs, random_);
    const auto law = group.multiply(*make_ops(GetParam(), Isa::kRef, 1), x);
    for (const Isa isa : available_isas()) {
      for (const int num_threads : {1, 2}) {
        const auto ops = make_ops(GetParam(), isa, num_threads);
        ASSERT_TRUE(same_bits(law, group.multiply(*ops, x)))
            << to_string(isa) << " " << to_string(dtype);
        const auto alone = group.multiply(*ops, std::span(x).last(num_inputs));
        ASSERT_TRUE(same_bits(std::span(law).last(kWidth), alone)) << to_string(isa);
      }
    }
  }
}

// More rows than one pass takes.
TEST_P(QuantizedOps, ManyRowsAreEachAlone) {
  const Weight weight(DType::kQ5_0, 32, 64, random_);
  const auto x = random_floats(530 * 64, random_);
  const auto ops = make_ops(GetParam(), available_isas().back(), 2);
  const MatrixPtr matrix = ops->make_matrix(weight.view).value();
  std::vector<float> y(530 * 32);
  ops->linear(*matrix, x.data(), 530, y.data());
  for (const int row : {0, 47, 511, 512, 529}) {
    std::vector<float> alone(32);
    ops->linear(*matrix, x.data() + row * 64, 1, alone.data());
    EXPECT_TRUE(same_bits(std::span(y).subspan(row * 32, 32), alone)) << row;
  }
}

// As logits are computed from weights of 8 bits. More rows than one pass takes.
TEST_P(QuantizedOps, WideActivationsAreNearExactAndTheSameBitsEverywhere) {
  constexpr int kRows = 300, kInputs = 96, kOutputs = 150;
  const Weight weight(DType::kQ8_0, kOutputs, kInputs, random_);
  const auto bias = random_floats(kOutputs, random_);
  auto x = random_floats(kRows * kInputs, random_);
  for (int m = 0; m < kRows; ++m) x[m * kInputs + m % kInputs] *= 100;  // outliers
  const auto multiply = [&](Ops& ops, std::span<const float> rows, bool wide) {
    const int num_rows = static_cast<int>(rows.size()) / kInputs;
    const MatrixPtr matrix = ops.make_matrix(weight.view).value();
    std::vector<float> y(num_rows * kOutputs, NAN);
    const Ops::LinearOutput output{matrix.get(), y.data(), bias, wide};
    ops.linear_group({&output, 1}, rows.data(), num_rows);
    return y;
  };
  const auto law = multiply(*make_ops(GetParam(), Isa::kRef, 1), x, true);
  for (const Isa isa : available_isas()) {
    const auto ops = make_ops(GetParam(), isa, 2);
    EXPECT_TRUE(same_bits(law, multiply(*ops, x, true))) << to_string(isa);
    const auto alone = multiply(*ops, std::span(x).last(kInputs), true);
    EXPECT_TRUE(same_bits(std::span(law).last(kOutputs), alone)) << to_string(isa);
  }
  const auto narrow = multiply(*make_ops(GetParam(), Isa::kRef, 1), x, false);
  const auto values = dequantize(weight.view).value();
  double error = 0, narrow_error = 0;
  for (int i = 0; i < kRows * kOutputs; ++i) {
    const auto exact = std::inner_product(
        &x[i / kOutputs * kInputs], &x[i / kOutputs * kInputs] + kInputs,
        &values[i % kOutputs * kInputs], static_cast<double>(bias[i % kOutputs]));
    error += (law[i] - exact) * (law[i] - exact);
    narrow_error += (narrow[i] - exact) * (narrow[i] - exact);
  }
  EXPECT_LT(std::sqrt(error), 0.01 * std::sqrt(narrow_error));
}

TEST_P(QuantizedOps, EmbeddingsAreNearTheFileOnEveryInstructionSet) {
  const Weight weight(DType::kQ4_1, 70, 96, random_);
  const auto values = dequantize(weight.view).value();
  std::vector<float> first;
  for (const Isa isa : available_isas()) {
    const auto ops = make_ops(GetParam(), isa, 1);
    const MatrixPtr table = ops->make_matrix(weight.view).value();
    const TokenId tokens[] = {69, 0, 33};
    std::vector<float> rows(3 * 96);
    ops->embed(*table, tokens, 2.0f, rows.data());
    if (first.empty()) first = rows;
    EXPECT_TRUE(same_bits(first, rows)) << to_string(isa);
  }
  double error = 0, norm = 0;
  for (int k = 0; k < 96; ++k) {
    const double exact = 2.0 * values[69 * 96 + k];
    error += (first[k] - exact) * (first[k] - exact);
    norm += exact * exact;
  }
  EXPECT_LT(std::sqrt(error / norm), 0.01);
}

TEST(ComputeClassChoice, IsOfIntegersForQuantisedMatrices) {
  const std::byte none[1] = {};
  const auto view = [&](DType dtype, std::vector<std::int64_t> shape) {
    return TensorView{"test.weight", dtype, std::move(shape), none};
  };
  const TensorView norm = view(DType::kF32, {256}), wide = view(DType::kBF16, {4, 256});
  const TensorView bytes = view(DType::kQ8_0, {4, 256}), six = view(DType::kQ6_K, {4, 256});
  const TensorView narrow = view(DType::kQ5_0, {4, 256}), vector = view(DType::kQ4_0, {256});
  const TensorView super = view(DType::kQ5_K, {4, 256});
  for (const Isa isa : available_isas()) {
    EXPECT_EQ(choose_compute_class(std::vector{norm, wide}, isa), ComputeClass::kBf16);
    EXPECT_EQ(choose_compute_class(std::vector{norm, wide, narrow}, isa), ComputeClass::kQ8);
    EXPECT_EQ(choose_compute_class(std::vector{narrow, super}, isa), ComputeClass::kQ8);
    EXPECT_EQ(choose_compute_class(std::vector{vector, wide}, isa), ComputeClass::kBf16);
    EXPECT_EQ(choose_compute_class(std::vector{norm, wide, bytes}, isa), ComputeClass::kQ8);
    EXPECT_EQ(choose_compute_class(std::vector{six}, isa), ComputeClass::kQ8);
    EXPECT_EQ(choose_compute_class(std::vector{norm, super, six}, isa),
              isa == Isa::kAmx ? ComputeClass::kInt8 : ComputeClass::kQ8);
  }
}

INSTANTIATE_TEST_SUITE_P(Classes, QuantizedOps,
                         ::testing::Values(ComputeClass::kInt8, ComputeClass::kQ8),
                         [](const auto& info) { return to_string(info.param); });

}  // namespace
}  // namespace tutti::device
