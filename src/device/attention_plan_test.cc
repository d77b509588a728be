// How attention is cut into jobs: everything is done once, common pages are found, long contexts
// are shared out.
#include "device/attention_plan.h"

#include <gtest/gtest.h>

#include <map>
#include <numeric>
#include <random>
#include <tuple>

#include "kernels/kernel_table.h"

namespace tutti::device {
namespace {

using kernels::kAttentionChunk;

class AttentionPlanTest : public ::testing::Test {
 protected:
  // A sequence with `common` blocks of its own kind and fresh ones after them.
  void add(Position first_position, int num_rows, std::vector<int> leading = {}) {
    const int num_blocks = (first_position + num_rows - 1) / kBlockSize + 1;
    std::vector<BlockId>& table = tables_.emplace_back();
    for (int i = 0; i < num_blocks; ++i) {
      const bool given = i < static_cast<int>(leading.size());
      table.emplace_back(given ? leading[i] : next_block_++);
    }
    sequences_.push_back({next_row_, num_rows, first_position, {}});
    next_row_ += num_rows;
  }
  const AttentionPlan& make(int num_threads, int num_heads = 8, int window = 0) {
    for (std::size_t i = 0; i < tables_.size(); ++i) sequences_[i].block_table = tables_[i];
    plan_.make({0, num_heads, 1.0f, window, sequences_}, {1, kKvHeads, 64}, num_threads);
    return plan_;
  }
  std::vector<int> blocks(int count) {
    std::vector<int> ids(count);
    std::iota(ids.begin(), ids.end(), next_block_);
    next_block_ += count;
    return ids;
  }

  static constexpr int kKvHeads = 2;
  std::vector<std::vector<BlockId>> tables_;
  std::vector<AttentionSequence> sequences_;
  int next_block_ = 1000, next_row_ = 0;
  AttentionPlan plan_;
};

TEST_F(AttentionPlanTest, EveryRowHeadAndChunkIsDoneOnce) {
  std::mt19937 random(1);
  for (int round = 0; round < 40; ++round) {
    tables_.clear();
    sequences_.clear();
    next_row_ = 0;
    const auto prefix = blocks(1 + random() % 30);
    const int num_sequences = 1 + random() % 20;
    for (int i = 0; i < num_sequences; ++i) {
      const bool shares = random() % 2 == 0;
      const bool decodes = random() % 4 != 0;
      add(random() % 3000, decodes ? 1 : 1 + random() % 200, shares ? prefix : std::vector<int>{});
    }
    const int num_heads = kKvHeads * (1 + random() % 60);
    const int window = round % 3 == 0 ? 1 + random() % 900 : 0;
    const AttentionPlan& plan = make(1 + random() % 16, num_heads, window);
    std::map<std::tuple<int, int, int>, int> done;  // batch row, query head, chunk
    std::vector<int> parts(plan.splits.size(), 0);
    for (const AttentionPlan::Piece& piece : plan.pieces) {
      const AttentionPlan::Bundle& bundle = plan.bundles[piece.bundle];
      if (piece.split >= 0) ++parts[piece.split];
      int rows = 0;
      for (int m = 0; m < bundle.num_members; ++m) {
        const AttentionPlan::Member& member = plan.members[bundle.first_member + m];
        rows += member.num_rows;
        for (int row = 0; row < member.num_rows; ++row) {
          for (int head = 0; head < piece.num_heads; ++head) {
            const int query_head = piece.kv_head * num_heads / kKvHeads + piece.first_head + head;
            for (int chunk = piece.first_chunk; chunk < piece.last_chunk; ++chunk) {
              ++done[{member.sequence->first_row + member.first_row + row, query_head, chunk}];
            }
          }
        }
      }
      EXPECT_EQ(rows, bundle.num_rows);
      EXPECT_LE(rows * piece.num_heads, kernels::kMaxAttentionRows);
    }
    for (const AttentionSequence& sequence : sequences_) {
      for (int row = 0; row < sequence.num_rows; ++row) {
        const int last = sequence.first_position + row;
        const int first = window > 0 ? std::max(last - window + 1, 0) : 0;
        for (int head = 0; head < num_heads; ++head) {
          for (int chunk = first / kAttentionChunk; chunk <= last / kAttentionChunk; ++chunk) {
            const std::tuple key{sequence.first_row + row, head, chunk};
            ASSERT_EQ(done[key], 1) << "row " << row << " head " << head << " chunk " << chunk;
          }
        }
      }
    }
    for (std::size_t i = 0; i < parts.size(); ++i) {
      EXPECT_EQ(parts[i], plan.splits[i].num_parts);
    }
  }
}

TEST_F(AttentionPlanTest, SequencesWithTheSameFirstBlocksReadThemTogether) {
  const auto prefix = blocks(10);
  const auto other = blocks(3);
  add(500, 1, prefix);
  add(700, 1, other);
  add(400, 1, prefix);
  add(100, 1);
  add(650, 1, prefix);
  add(130, 1, other);
  const AttentionPlan& plan = make(1);
  std::map<int, int> common_of_size;
  for (const AttentionPlan::Bundle& bundle : plan.bundles) {
    common_of_size[bundle.num_members] = bundle.num_common_pages;
  }
  EXPECT_EQ(plan.bundles.size(), 3u);
  EXPECT_EQ(common_of_size, (std::map<int, int>{{1, 0}, {2, 3}, {3, 10}}));
}

// The block that a row is written into is its own, whatever its number says.
TEST_F(AttentionPlanTest, ThePageOfTheRowItselfIsNotShared) {
  const auto prefix = blocks(4);
  add(3 * kBlockSize + 5, 1, prefix);
  add(3 * kBlockSize + 9, 1, prefix);
  const AttentionPlan& plan = make(1);
  ASSERT_EQ(plan.bundles.size(), 1u);
  EXPECT_EQ(plan.bundles[0].num_common_pages, 3);
}

TEST_F(AttentionPlanTest, APrefixThatNobodySeesAnyMoreIsNotShared) {
  const auto prefix = blocks(4);
  add(1000, 1, prefix);
  add(1100, 1, prefix);
  EXPECT_EQ(make(1, 8, 300).bundles.size(), 2u);
}

TEST_F(AttentionPlanTest, OneLongSequenceIsSharedOutOverManyThreads) {
  add(20000, 1);
  const AttentionPlan& plan = make(16);
  std::int64_t total = 0, longest = 0;
  for (const AttentionPlan::Piece& piece : plan.pieces) {
    total += piece.cost;
    longest = std::max(longest, piece.cost);
  }
  EXPECT_GE(plan.pieces.size(), 16u * 2);
  EXPECT_LE(longest * 16, total);
  EXPECT_GT(plan.num_partial_floats, 0u);
  EXPECT_TRUE(make(1).splits.empty());
}

TEST_F(AttentionPlanTest, PartsOfTheLongestContextsStayWithinTheirMemory) {
  for (int i = 0; i < 8; ++i) add(1000000, 48);
  EXPECT_LE(make(64, 96).num_partial_floats, std::size_t{4} << 20);
}

}  // namespace
}  // namespace tutti::device
