// The operations that make their rows on the way into a product have the bits of the two
// operations one after the other: every class and instruction set, one and two threads, few rows
// and more than a pass takes.
#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <vector>

#include "device/isa.h"
#include "device/ops.h"
#include "kernels/testing/random_data.h"

namespace tutti::device {
namespace {

constexpr int kWidth = 256;

struct FusedCase {
  ComputeClass compute_class;
  Isa isa;
  int num_threads;
};

// What has kernels on this machine.
std::vector<FusedCase> fused_cases() {
  std::vector<FusedCase> cases;
  for (const ComputeClass compute_class :
       {ComputeClass::kF32, ComputeClass::kBf16, ComputeClass::kQ8, ComputeClass::kInt8}) {
    for (const Isa isa : available_isas()) {
      const bool is_quantized =
          compute_class == ComputeClass::kQ8 || compute_class == ComputeClass::kInt8;
      if (is_quantized && quantized_kernels_of(compute_class, isa) == nullptr) continue;
      for (const int num_threads : {1, 2}) cases.push_back({compute_class, isa, num_threads});
    }
  }
  return cases;
}

class FusedOps : public ::testing::TestWithParam<FusedCase> {
 protected:
  void SetUp() override {
    auto made = Ops::create({.compute_class = GetParam().compute_class,
                             .isa = GetParam().isa,
                             .num_threads = GetParam().num_threads});
    ASSERT_TRUE(made.ok()) << made.status().message();
    ops_ = std::move(made.value());
    small_ = make_matrix(DType::kQ4_0, 100);
    plain_ = make_matrix(DType::kBF16, 36);
  }

  MatrixPtr make_matrix(DType dtype, int num_outputs) {
    weights_.push_back(kernels::random_weights(dtype, num_outputs, kWidth, random_));
    return ops_
        ->make_matrix({"test.weight", dtype, {num_outputs, kWidth}, std::span(weights_.back())})
        .value();
  }

  // The last is more than one pass takes; too slow for the scalar kernels.
  static std::vector<int> row_counts() {
    if (GetParam().isa == Isa::kRef) return {1, 2, 7, 40};
    return {1, 2, 7, 40, 530};
  }

  std::vector<float> floats(int num_rows) {
    return kernels::random_floats(static_cast<std::size_t>(num_rows) * kWidth, random_);
  }

  std::mt19937 random_{29};
  std::vector<std::vector<std::byte>> weights_;
  std::unique_ptr<Ops> ops_;
  MatrixPtr small_, plain_;  // of a class with small integers one is, the other is not
};

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

// Everything that a call writes.
struct Written {
  std::vector<float> hidden, block, y, z;
};

TEST_P(FusedOps, AddNormLinear) {
  const std::vector<float> norm_before = floats(1), norm_after = floats(1);
  for (const int num_rows : row_counts()) {
    const std::vector<float> hidden = floats(num_rows), block = floats(num_rows);
    for (int norms = 0; norms < 8; ++norms) {
      const auto run = [&](bool fused) {
        Written written{hidden, block, std::vector<float>(100 * num_rows),
                        std::vector<float>(36 * num_rows)};
        Ops::ResidualRows rows{.hidden = written.hidden.data(), .block = written.block.data()};
        rows.has_residual = (norms & 1) != 0;
        rows.scale = 0.75f;
        rows.epsilon = 1e-5f;
        if ((norms & 2) != 0) rows.post_norm = norm_after;
        if ((norms & 4) != 0) rows.pre_norm = norm_before;
        const Ops::LinearOutput outputs[] = {{plain_.get(), written.z.data(), {}},
                                             {small_.get(), written.y.data(), {}}};
        if (fused) {
          ops_->add_norm_linear(outputs, rows, num_rows);
        } else {
          ops_->add_and_norm(rows, num_rows, kWidth);
          ops_->linear_group(outputs, rows.input(), num_rows);
        }
        return written;
      };
      const Written expected = run(false), actual = run(true);
      EXPECT_TRUE(same_bits(expected.hidden, actual.hidden)) << num_rows << " rows " << norms;
      EXPECT_TRUE(same_bits(expected.block, actual.block)) << num_rows << " rows " << norms;
      EXPECT_TRUE(same_bits(expected.y, actual.y)) << num_rows << " rows " << norms;
      EXPECT_TRUE(same_bits(expected.z, actual.z)) << num_rows << " rows " << norms;
    }
  }
}

TEST_P(FusedOps, SiluMulLinear) {
  for (const Matrix* matrix : {small_.get(), plain_.get()}) {
    const int num_outputs = matrix == small_.get() ? 100 : 36;
    for (const int num_rows : row_counts()) {
      std::vector<float> gate = floats(num_rows), fused_gate = gate;
      const std::vector<float> up = floats(num_rows);
      const std::vector<float> bias = kernels::random_floats(num_outputs, random_);
      std::vector<float> expected(num_outputs * num_rows), actual = expected;
      ops_->silu_mul(gate.data(), up.data(), num_rows, kWidth, gate.data());
      ops_->linear(*matrix, gate.data(), num_rows, expected.data(), bias);
      ops_->silu_mul_linear({matrix, actual.data(), bias}, fused_gate.data(), up.data(), num_rows);
      EXPECT_TRUE(same_bits(expected, actual)) << num_rows << " rows";
      EXPECT_TRUE(same_bits(gate, fused_gate)) << num_rows << " rows";
    }
  }
}

std::string case_name(const ::testing::TestParamInfo<FusedCase>& info) {
  return std::string(to_string(info.param.compute_class)) + "_" + to_string(info.param.isa) + "_" +
         std::to_string(info.param.num_threads);
}

INSTANTIATE_TEST_SUITE_P(All, FusedOps, ::testing::ValuesIn(fused_cases()), case_name);

}  // namespace
}  // namespace tutti::device
