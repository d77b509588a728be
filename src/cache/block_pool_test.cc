#include "cache/block_pool.h"

#include <gtest/gtest.h>

#include <random>

#include "cache/block_table.h"

namespace tutti::cache {
namespace {

TEST(BlockPool, TakesAllOrNothing) {
  BlockPool pool(4);
  const auto three = pool.take(3);
  ASSERT_TRUE(three);
  EXPECT_FALSE(pool.take(2));
  EXPECT_EQ(pool.num_free(), 1);
  EXPECT_TRUE(pool.take(0)->empty());
  pool.release(*three);
  EXPECT_EQ(pool.num_free(), 4);
  pool.check_invariants();
}

TEST(BlockPool, ASharedBlockIsFreedByItsLastOwner) {
  BlockPool pool(2);
  const std::vector<BlockId> block = *pool.take(1);
  pool.add_reference(block[0]);
  EXPECT_EQ(pool.ref_count(block[0]), 2);
  pool.release(block);
  EXPECT_EQ(pool.num_used(), 1);
  pool.release(block);
  EXPECT_EQ(pool.num_used(), 0);
  pool.check_invariants();
}

TEST(BlockPool, RefusesWrongUse) {
  BlockPool pool(2);
  const std::vector<BlockId> block = *pool.take(1);
  pool.release(block);
  EXPECT_DEATH(pool.release(block), "free already");
  EXPECT_DEATH(pool.add_reference(block[0]), "is free");
  EXPECT_DEATH(pool.add_reference(BlockId(2)), "block 2 of 2");
  EXPECT_DEATH(BlockPool(0), "0 blocks");
}

TEST(BlockPool, KeptBlocksAreGivenAwayLast) {
  BlockPool pool(4);
  const std::vector<BlockId> all = *pool.take(4);
  for (int i = 0; i < 3; ++i) pool.keep(all[i]);
  pool.release(all);
  EXPECT_EQ(pool.num_free(), 1);
  EXPECT_EQ(pool.num_cached(), 3);
  EXPECT_EQ(pool.num_used(), 0);
  std::vector<BlockId> evicted;
  const auto on_evict = [&](BlockId block) { evicted.push_back(block); };
  EXPECT_EQ(pool.take(1, on_evict)->front(), all[3]);
  EXPECT_TRUE(evicted.empty());
  // The last of those released together goes first.
  EXPECT_EQ(pool.take(1, on_evict)->front(), all[2]);
  EXPECT_EQ(evicted, std::vector<BlockId>{all[2]});
  EXPECT_FALSE(pool.is_kept(all[2]));
  // A cached one that is used again is the most recent afterwards.
  pool.add_reference(all[1]);
  EXPECT_EQ(pool.num_used(), 3);
  pool.release({&all[1], 1});
  EXPECT_EQ(pool.cached_blocks(), (std::vector<BlockId>{all[0], all[1]}));
  EXPECT_FALSE(pool.take(3));
  pool.check_invariants();
}

TEST(BlockPool, AForgottenBlockIsFree) {
  BlockPool pool(1);
  const std::vector<BlockId> block = *pool.take(1);
  pool.keep(block[0]);
  pool.forget(block[0]);
  pool.release(block);
  EXPECT_EQ(pool.num_free(), 1);
  pool.check_invariants();
}

// A model of plain counts beside the pool, over random takes, shares and releases.
TEST(BlockPool, KeepsItsInvariantsOverRandomUse) {
  std::mt19937 random(1);
  BlockPool pool(37);
  std::vector<int> model(37, 0);
  std::vector<BlockId> references;
  for (int step = 0; step < 20000; ++step) {
    const int choice = random() % 3;
    if (choice == 0) {
      const int n = random() % 8;
      const int num_free = static_cast<int>(std::count(model.begin(), model.end(), 0));
      const auto taken = pool.take(n);
      ASSERT_EQ(taken.has_value(), n <= num_free);
      if (!taken) continue;
      for (const BlockId block : *taken) {
        ASSERT_EQ(model[block.value]++, 0);
        references.push_back(block);
      }
    } else if (!references.empty()) {
      const std::size_t i = random() % references.size();
      if (choice == 1) {
        pool.add_reference(references[i]);
        ++model[references[i].value];
        references.push_back(references[i]);
      } else {
        pool.release(std::span(&references[i], 1));
        --model[references[i].value];
        references.erase(references.begin() + static_cast<std::ptrdiff_t>(i));
      }
    }
    if (step % 64 == 0) pool.check_invariants();
    for (int b = 0; b < 37; ++b) ASSERT_EQ(pool.ref_count(BlockId(b)), model[b]);
  }
}

TEST(BlockTable, FindsSlots) {
  EXPECT_EQ(num_blocks_for(0), 0);
  EXPECT_EQ(num_blocks_for(1), 1);
  EXPECT_EQ(num_blocks_for(kBlockSize), 1);
  EXPECT_EQ(num_blocks_for(kBlockSize + 1), 2);
  BlockTable table;
  const std::vector<BlockId> blocks = {BlockId(7), BlockId(2)};
  table.append(blocks);
  EXPECT_EQ(table.slot(0), SlotId(7 * kBlockSize));
  EXPECT_EQ(table.slot(kBlockSize + 3), SlotId(2 * kBlockSize + 3));
  EXPECT_DEATH(table.slot(2 * kBlockSize), "position 64 of 64");
  EXPECT_EQ(table.take_all(), blocks);
  EXPECT_EQ(table.capacity(), 0);
}

}  // namespace
}  // namespace tutti::cache
