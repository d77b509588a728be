// Attention and its cache as a model sees them: every instruction set and thread count gives one
// set of bits, alone or in company, and every class agrees with double arithmetic.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "base/thread_pool.h"
#include "device/testing/variants.h"

namespace tutti::device {
namespace {

using kernels::random_floats;
using testing::relative_error;
using testing::same_bits;
using testing::Variant;
using testing::variants_of;

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

// Full blocks that were bytes in between, and came back into others that held NaN.
TEST_F(AttentionTest, SavedBlocksGiveTheSameBits) {
  std::vector<std::pair<Variant, KvDtype>> variants = {
      {{ComputeClass::kF32, Isa::kRef, 2}, KvDtype::kAuto}};
  for (const Variant& variant : variants_of(ComputeClass::kBf16)) {
    variants.emplace_back(variant, KvDtype::kBf16);
    variants.emplace_back(variant, KvDtype::kInt8);
  }
  for (const auto& [variant, dtype] : variants) {
    const auto ops = variant.make(dtype);
    const std::vector<float> expected = together(*ops, 0, false);
    const std::size_t width = static_cast<std::size_t>(num_heads_) * shape_.head_dim;
    std::size_t offset = 0;
    for (const Sequence& sequence : sequences_) {
      offset += sequence.num_rows * width;
      const int last = sequence.first_position + sequence.num_rows - 1;
      const int num_full = last / kBlockSize;
      auto from = ops->make_kv_cache(shape_, kNumBlocks).value();
      store(*ops, *from, sequence, 0, last + 1);
      auto to = ops->make_kv_cache(shape_, kNumBlocks).value();
      fill_with_nan(*ops, *to);
      for (int i = 0; i < num_full; ++i) {
        std::vector<std::byte> bytes(ops->kv_block_bytes(shape_));
        ops->save_kv(*from, sequence.block_table[i], bytes);
        ops->load_kv(*to, sequence.block_table[i], bytes);
      }
      store(*ops, *to, sequence, num_full * kBlockSize, last + 1);
      const AttentionSequence row{0, 1, last, sequence.block_table};
      std::vector<float> found(width);
      ops->attention(*to, {1, num_heads_, 0.2f, 0, {&row, 1}},
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

}  // namespace
}  // namespace tutti::device
