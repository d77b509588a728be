// Ops as a model sees it: every instruction set and thread count gives one set of bits, a row's
// bits do not depend on its company, and both classes agree with double arithmetic.
#include "device/ops.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <numeric>
#include <random>

#include "base/thread_pool.h"
#include "device/large_buffer.h"
#include "kernels/op_cases.h"
#include "kernels/testing/random_data.h"
#include "tensor/dequantize.h"

namespace tutti::device {
namespace {

using kernels::random_floats;
using kernels::random_weights;

// What the classes of small integers take.
constexpr DType kSmallTypes[] = {DType::kQ4_0, DType::kQ4_1, DType::kQ5_0, DType::kQ5_1,
                                 DType::kQ8_0, DType::kQ4_K, DType::kQ5_K, DType::kQ6_K};

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
std::vector<Variant> variants_of(ComputeClass compute_class) {
  std::vector<Variant> variants;
  for (const Isa isa : available_isas()) {
    for (const int num_threads : {1, 2}) {
      variants.push_back({compute_class, isa, num_threads});
    }
  }
  return variants;
}

bool has_small_integers(DType dtype) { return std::ranges::count(kSmallTypes, dtype) > 0; }

struct Weight {
  std::vector<std::byte> bytes;
  TensorView view;

  Weight(DType dtype, int num_outputs, int num_inputs, std::mt19937& random)
      : bytes(random_weights(dtype, num_outputs, num_inputs, random)),
        view{"test.weight", dtype, {num_outputs, num_inputs}, bytes} {}
};

std::vector<float> linear(Ops& ops, const Weight& weight, std::span<const float> x,
                          std::span<const float> bias = {},
                          std::span<const std::int32_t> row_order = {}) {
  const MatrixPtr matrix = ops.make_matrix(weight.view, row_order).value();
  const int num_rows = static_cast<int>(x.size() / weight.view.shape[1]);
  std::vector<float> y(static_cast<std::size_t>(num_rows) * weight.view.shape[0], NAN);
  ops.linear(*matrix, x.data(), num_rows, y.data(), bias);
  return y;
}

bool same_bits(std::span<const float> a, std::span<const float> b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size_bytes()) == 0;
}

double relative_error(std::span<const double> exact, std::span<const float> actual) {
  double error = 0, norm = 0;
  for (std::size_t i = 0; i < exact.size(); ++i) {
    error += (exact[i] - actual[i]) * (exact[i] - actual[i]);
    norm += exact[i] * exact[i];
  }
  return std::sqrt(error / norm);
}

TEST(Ops, WordsAndBack) {
  for (const Isa isa : {Isa::kRef, Isa::kAvx2, Isa::kAvx512, Isa::kAmx, Isa::kNeon}) {
    EXPECT_EQ(parse_isa(to_string(isa)).value(), isa);
  }
  for (const ComputeClass known :
       {ComputeClass::kF32, ComputeClass::kBf16, ComputeClass::kInt8, ComputeClass::kQ8}) {
    EXPECT_EQ(parse_compute_class(to_string(known)).value(), known);
  }
  EXPECT_EQ(parse_isa("sse9").status().field(), "isa");
  EXPECT_EQ(parse_compute_class("int3").status().field(), "compute");
}

TEST(Ops, AnInstructionSetThatTheMachineLacksIsRefusedByName) {
  EXPECT_EQ(available_isas().front(), Isa::kRef);
  const auto isas = available_isas();
  for (const Isa isa : {Isa::kAvx2, Isa::kAvx512, Isa::kAmx, Isa::kNeon}) {
    const bool there = std::find(isas.begin(), isas.end(), isa) != isas.end();
    const auto ops = Ops::create({ComputeClass::kBf16, isa, 1});
    EXPECT_EQ(ops.ok(), there);
    if (there) continue;
    EXPECT_THAT(ops.status().message(), ::testing::HasSubstr(to_string(isa)));
  }
}

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

// A few rows of several sequences, as a step has them.
class AttentionTest : public ::testing::Test {
 protected:
  struct Sequence {
    int first_position, num_rows;
    std::vector<BlockId> block_table;
    std::vector<float> keys, values, q;  // of all positions; q of the rows
  };

  static constexpr int kNumBlocks = 64;
  const KvShape shape_{2, 2, 48};
  int num_heads_ = 6;
  std::mt19937 random_{7};
  std::vector<Sequence> sequences_;

  void SetUp() override {
    std::vector<int> blocks(kNumBlocks);
    std::iota(blocks.begin(), blocks.end(), 0);
    std::shuffle(blocks.begin(), blocks.end(), random_);
    for (const auto& [first, rows] : {std::pair{0, 1}, {70, 1}, {0, 33}, {31, 2}, {200, 90}}) {
      Sequence sequence{first, rows, {}, {}, {}, {}};
      const int length = first + rows;
      for (int i = 0; i < (length + kBlockSize - 1) / kBlockSize; ++i) {
        sequence.block_table.emplace_back(blocks.back());
        blocks.pop_back();
      }
      const int width = shape_.num_kv_heads * shape_.head_dim;
      sequence.keys = random_floats(static_cast<std::size_t>(length) * width, random_);
      sequence.values = random_floats(static_cast<std::size_t>(length) * width, random_);
      sequence.q =
          random_floats(static_cast<std::size_t>(rows) * num_heads_ * shape_.head_dim, random_);
      sequences_.push_back(sequence);
    }
  }

  // One that no sequence has.
  BlockId spare_block() const {
    for (BlockId block(0);; ++block.value) {
      const auto has_it = [&](const Sequence& each) {
        return std::count(each.block_table.begin(), each.block_table.end(), block) > 0;
      };
      if (std::none_of(sequences_.begin(), sequences_.end(), has_it)) return block;
    }
  }

  // Positions [begin, end) into the cache.
  void store(Ops& ops, KvCache& cache, const Sequence& sequence, int begin, int end) const {
    std::vector<SlotId> slots;
    for (int p = begin; p < end; ++p) {
      slots.emplace_back(sequence.block_table[p / kBlockSize].value * kBlockSize + p % kBlockSize);
    }
    const std::size_t offset =
        static_cast<std::size_t>(begin) * shape_.num_kv_heads * shape_.head_dim;
    ops.store_kv(cache, 1, sequence.keys.data() + offset, sequence.values.data() + offset, slots);
  }

  // All sequences in one batch.
  std::vector<float> together(Ops& ops, int window, bool dirty) const {
    auto cache = ops.make_kv_cache(shape_, kNumBlocks).value();
    if (dirty) fill_with_nan(ops, *cache);
    std::vector<AttentionSequence> batch;
    std::vector<float> q;
    int row = 0;
    for (const Sequence& sequence : sequences_) {
      store(ops, *cache, sequence, 0, sequence.first_position + sequence.num_rows);
      batch.push_back({row, sequence.num_rows, sequence.first_position, sequence.block_table});
      q.insert(q.end(), sequence.q.begin(), sequence.q.end());
      row += sequence.num_rows;
    }
    std::vector<float> out(q.size());
    ops.attention(*cache, {1, num_heads_, 0.2f, window, batch}, q.data(), out.data());
    return out;
  }

  // Each row in a step of its own, the keys written only as far as it sees.
  std::vector<float> alone(Ops& ops, int window) const {
    std::vector<float> out;
    for (const Sequence& sequence : sequences_) {
      auto cache = ops.make_kv_cache(shape_, kNumBlocks).value();
      store(ops, *cache, sequence, 0, sequence.first_position);
      const std::size_t width = static_cast<std::size_t>(num_heads_) * shape_.head_dim;
      for (int row = 0; row < sequence.num_rows; ++row) {
        const int position = sequence.first_position + row;
        store(ops, *cache, sequence, position, position + 1);
        const AttentionSequence one{0, 1, position, sequence.block_table};
        std::vector<float> result(width);
        ops.attention(*cache, {1, num_heads_, 0.2f, window, {&one, 1}},
                      sequence.q.data() + row * width, result.data());
        out.insert(out.end(), result.begin(), result.end());
      }
    }
    return out;
  }

  void fill_with_nan(Ops& ops, KvCache& cache) const {
    std::vector<SlotId> slots;
    for (int i = 0; i < kNumBlocks * kBlockSize; ++i) slots.emplace_back(i);
    const std::vector<float> nan(slots.size() * shape_.num_kv_heads * shape_.head_dim, NAN);
    ops.store_kv(cache, 1, nan.data(), nan.data(), slots);
  }

  std::vector<double> exact(int window) const {
    std::vector<double> out;
    const int dim = shape_.head_dim;
    for (const Sequence& sequence : sequences_) {
      for (int row = 0; row < sequence.num_rows; ++row) {
        const int last = sequence.first_position + row;
        for (int head = 0; head < num_heads_; ++head) {
          const int kv_head = head / (num_heads_ / shape_.num_kv_heads);
          const float* q = sequence.q.data() + (row * num_heads_ + head) * dim;
          std::vector<double> sums(dim, 0.0);
          double total = 0;
          for (int p = window > 0 ? std::max(0, last - window + 1) : 0; p <= last; ++p) {
            const std::size_t at =
                (static_cast<std::size_t>(p) * shape_.num_kv_heads + kv_head) * dim;
            double score = 0;
            for (int d = 0; d < dim; ++d) score += double{q[d]} * sequence.keys[at + d];
            const double weight = std::exp(0.2 * score);
            total += weight;
            for (int d = 0; d < dim; ++d) sums[d] += weight * sequence.values[at + d];
          }
          for (const double sum : sums) out.push_back(sum / total);
        }
      }
    }
    return out;
  }
};

TEST_F(AttentionTest, SameBitsEverywhereAloneOrTogetherWhateverTheBlocksHeldBefore) {
  for (const auto& [window, dtype] : {std::pair{0, KvDtype::kBf16},
                                      {40, KvDtype::kBf16},
                                      {0, KvDtype::kInt8},
                                      {40, KvDtype::kInt8}}) {
    std::vector<float> law;
    for (const Variant& variant : variants_of(ComputeClass::kBf16)) {
      const auto ops = variant.make(dtype);
      const auto out = together(*ops, window, false);
      if (law.empty()) law = out;
      EXPECT_TRUE(same_bits(law, out)) << variant.name() << " window " << window;
      EXPECT_TRUE(same_bits(law, alone(*ops, window))) << variant.name() << " alone";
      EXPECT_TRUE(same_bits(law, together(*ops, window, true))) << variant.name() << " after NaN";
    }
  }
}

// As if all but the last row of a sequence had been found in another one's blocks: its last block
// is a copy of their first positions, into one that held NaN, and the row is computed behind them.
TEST_F(AttentionTest, ACopyOfPartOfABlockGivesTheSameBits) {
  std::vector<std::pair<Variant, KvDtype>> variants = {
      {{ComputeClass::kF32, Isa::kRef, 2}, KvDtype::kAuto}};
  for (const Variant& variant : variants_of(ComputeClass::kBf16)) {
    variants.emplace_back(variant, KvDtype::kBf16);
    variants.emplace_back(variant, KvDtype::kInt8);
  }
  for (const auto& [variant, dtype] : variants) {
    const auto ops = variant.make(dtype);
    const std::vector<float> expected = together(*ops, 0, false);
    std::size_t offset = 0;
    for (const Sequence& sequence : sequences_) {
      const int last = sequence.first_position + sequence.num_rows - 1;
      const std::size_t width = static_cast<std::size_t>(num_heads_) * shape_.head_dim;
      offset += sequence.num_rows * width;
      const int num_copied = last % kBlockSize;
      if (num_copied == 0) continue;
      auto cache = ops->make_kv_cache(shape_, kNumBlocks).value();
      fill_with_nan(*ops, *cache);
      store(*ops, *cache, sequence, 0, last + 1);
      Sequence copied = sequence;
      copied.block_table.back() = spare_block();
      ops->copy_kv(*cache, sequence.block_table.back(), copied.block_table.back(), num_copied);
      store(*ops, *cache, copied, last, last + 1);
      const AttentionSequence row{0, 1, last, copied.block_table};
      std::vector<float> found(width);
      ops->attention(*cache, {1, num_heads_, 0.2f, 0, {&row, 1}},
                     sequence.q.data() + (sequence.num_rows - 1) * width, found.data());
      const std::vector<float> wanted(
          expected.begin() + static_cast<std::ptrdiff_t>(offset - width),
          expected.begin() + static_cast<std::ptrdiff_t>(offset));
      EXPECT_TRUE(same_bits(wanted, found)) << variant.name() << ", last position " << last;
    }
  }
}

// All sequences go on from the blocks of one, as after a prefix-cache hit.
class CommonPrefixTest : public AttentionTest {
 protected:
  static constexpr int kCommonBlocks = 5;
  void SetUp() override {
    AttentionTest::SetUp();
    const Sequence source = sequences_.back();
    sequences_.clear();
    const std::size_t width = static_cast<std::size_t>(shape_.num_kv_heads) * shape_.head_dim;
    int next_block = 0;
    const auto fresh_block = [&] {
      const auto taken = [&](BlockId id) {
        return std::find(source.block_table.begin(), source.block_table.begin() + kCommonBlocks,
                         id) != source.block_table.begin() + kCommonBlocks;
      };
      while (taken(BlockId(next_block))) ++next_block;
      return BlockId(next_block++);
    };
    for (const auto& [first, rows] : {std::pair{160, 1}, {200, 1}, {165, 3}, {300, 1}, {161, 1}}) {
      Sequence sequence{first, rows, {}, {}, {}, {}};
      const int length = first + rows;
      for (int i = 0; i < (length + kBlockSize - 1) / kBlockSize; ++i) {
        sequence.block_table.push_back(i < kCommonBlocks ? source.block_table[i] : fresh_block());
      }
      const std::size_t common = kCommonBlocks * kBlockSize * width;
      sequence.keys = random_floats(length * width, random_);
      sequence.values = random_floats(length * width, random_);
      std::copy_n(source.keys.begin(), common, sequence.keys.begin());
      std::copy_n(source.values.begin(), common, sequence.values.begin());
      sequence.q =
          random_floats(static_cast<std::size_t>(rows) * num_heads_ * shape_.head_dim, random_);
      sequences_.push_back(sequence);
    }
  }
};

TEST_F(CommonPrefixTest, EachSequenceHasTheBitsThatItHasAlone) {
  for (const KvDtype dtype : {KvDtype::kBf16, KvDtype::kInt8}) {
    for (const int window : {0, 150}) {
      std::vector<float> law;
      for (const Variant& variant : variants_of(ComputeClass::kBf16)) {
        const auto ops = variant.make(dtype);
        if (law.empty()) law = alone(*ops, window);
        EXPECT_TRUE(same_bits(law, together(*ops, window, false))) << variant.name();
      }
    }
  }
}

// One query head more for each key head than a kernel takes at once.
class WideGroupTest : public AttentionTest {
 protected:
  WideGroupTest() { num_heads_ = 2 * 49; }
};

TEST_F(WideGroupTest, IsWorkedOffInPieces) {
  const auto expected = exact(40);
  std::vector<float> law;
  for (const Variant& variant : variants_of(ComputeClass::kBf16)) {
    const auto ops = variant.make();
    const auto out = together(*ops, 40, false);
    if (law.empty()) law = out;
    EXPECT_TRUE(same_bits(law, out)) << variant.name();
    EXPECT_LT(relative_error(expected, out), 0.006) << variant.name();
  }
}

TEST_F(AttentionTest, BothClassesAreNearDoubleArithmetic) {
  for (const int window : {0, 40}) {
    const auto expected = exact(window);
    const auto f32 = Variant{ComputeClass::kF32, Isa::kRef, 2}.make();
    EXPECT_LT(relative_error(expected, together(*f32, window, false)), 1e-6);
    const auto bf16 = Variant{ComputeClass::kBf16, available_isas().back(), 2}.make();
    EXPECT_LT(relative_error(expected, together(*bf16, window, false)), 0.006);
    const auto int8 = Variant{ComputeClass::kBf16, available_isas().back(), 2}.make(KvDtype::kInt8);
    EXPECT_LT(relative_error(expected, together(*int8, window, false)), 0.02);
  }
}

TEST_F(AttentionTest, CacheBytesAreAsPlanned) {
  const auto ops = Variant{ComputeClass::kBf16, Isa::kRef, 1}.make();
  // head_dim 48 is padded to 64.
  EXPECT_EQ(ops->kv_block_bytes(shape_), 2u * 2 * 2 * 64 * kBlockSize * 2);
  EXPECT_EQ(ops->kv_block_bytes({1, 1, 64}), 2u * 64 * kBlockSize * 2);
  // A byte a value, and a float for each position and head.
  const auto int8 = Variant{ComputeClass::kBf16, Isa::kRef, 1}.make(KvDtype::kInt8);
  EXPECT_EQ(int8->kv_block_bytes({1, 1, 64}), 2u * (64 + 4) * kBlockSize);
  EXPECT_FALSE(ops->make_kv_cache({1, 1, 4096}, 1).ok());
  EXPECT_FALSE(ops->make_kv_cache({1, 1, 64}, 0).ok());
}

TEST(Ops, CacheDtypesByName) {
  EXPECT_EQ(parse_kv_dtype("auto").value(), KvDtype::kAuto);
  EXPECT_EQ(parse_kv_dtype("bf16").value(), KvDtype::kBf16);
  EXPECT_EQ(parse_kv_dtype("bfloat16").value(), KvDtype::kBf16);
  EXPECT_EQ(parse_kv_dtype("int8").value(), KvDtype::kInt8);
  const Status refused = parse_kv_dtype("fp8").status();
  EXPECT_EQ(refused.field(), "kv_cache_dtype");
  EXPECT_THAT(refused.message(), ::testing::HasSubstr("\"fp8\""));
  const Status no_f32 =
      Ops::create({.compute_class = ComputeClass::kF32, .kv_dtype = KvDtype::kInt8}).status();
  EXPECT_EQ(no_f32.field(), "kv_cache_dtype");
  EXPECT_THAT(no_f32.message(), ::testing::HasSubstr("int8"));
}

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

TEST(LargeBuffer, IsZeroedAndMoves) {
  for (const std::size_t size : {std::size_t{100}, std::size_t{5} << 20}) {
    LargeBuffer buffer(size);
    EXPECT_GE(buffer.size(), size);
    EXPECT_TRUE(std::all_of(buffer.data(), buffer.data() + size,
                            [](std::byte b) { return b == std::byte{0}; }));
    buffer.data()[size - 1] = std::byte{7};
    LargeBuffer other = std::move(buffer);
    EXPECT_EQ(other.data()[size - 1], std::byte{7});
    EXPECT_EQ(buffer.data(), nullptr);
  }
}

// Pages of the mapping that are in memory.
int resident_pages(const std::byte* bytes, std::size_t size) {
  std::ifstream smaps("/proc/self/smaps");
  char start[32];
  std::snprintf(start, sizeof(start), "%lx-", reinterpret_cast<unsigned long>(bytes));
  bool inside = false;
  for (std::string line; std::getline(smaps, line);) {
    if (line.rfind(start, 0) == 0) inside = true;
    if (inside && line.rfind("Rss:", 0) == 0) return std::atoi(line.c_str() + 4) / 4;
  }
  return -static_cast<int>(size);
}

TEST(ReleaseFilePages, TakesAFilesPagesAndLeavesOtherMemoryAlone) {
  constexpr std::size_t kSize = 64 * 4096;
  std::FILE* file = std::tmpfile();
  ASSERT_NE(file, nullptr);
  const std::vector<char> content(kSize, 'x');
  ASSERT_EQ(std::fwrite(content.data(), 1, kSize, file), kSize);
  ASSERT_EQ(std::fflush(file), 0);
  auto* bytes =
      static_cast<std::byte*>(mmap(nullptr, kSize, PROT_READ, MAP_PRIVATE, fileno(file), 0));
  ASSERT_NE(static_cast<void*>(bytes), MAP_FAILED);
  EXPECT_EQ(std::count(bytes, bytes + kSize, std::byte{'x'}), static_cast<long>(kSize));
  EXPECT_EQ(resident_pages(bytes, kSize), 64);
  release_file_pages({bytes + 100, kSize - 200});
  EXPECT_LE(resident_pages(bytes, kSize), 2);
  EXPECT_EQ(std::count(bytes, bytes + kSize, std::byte{'x'}), static_cast<long>(kSize));
  munmap(bytes, kSize);
  std::fclose(file);

  LargeBuffer buffer(kSize);
  std::memset(buffer.data(), 'y', kSize);
  release_file_pages({buffer.data(), kSize});
  EXPECT_EQ(std::count(buffer.data(), buffer.data() + kSize, std::byte{'y'}),
            static_cast<long>(kSize));
}

}  // namespace
}  // namespace tutti::device
