#include "cache/spill_index.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>

#include "tests/support/spill_blocks.h"

namespace tutti::cache {
namespace {

using testing::spill_key;

TEST(SpillIndex, FindsOnlyWhatIsEqualInAll) {
  SpillIndex index(4);
  ASSERT_TRUE(index.insert(spill_key(0, 0)));
  EXPECT_TRUE(index.find(spill_key(0, 0)));
  BlockKey key = spill_key(0, 0);
  key.tokens[31] ^= 1;
  EXPECT_FALSE(index.find(key));
  EXPECT_FALSE(index.insert(key)) << "another has its hash";
  key = spill_key(0, 0);
  key.parent.low ^= 1;
  EXPECT_FALSE(index.find(key));
  key = spill_key(0, 0);
  key.root.high ^= 1;
  EXPECT_FALSE(index.find(key));
}

TEST(SpillIndex, GivesTheEndOfTheOldestChainAwayFirst) {
  SpillIndex index(6);
  for (int number = 0; number < 3; ++number) index.insert(spill_key(0, number));
  for (int number = 0; number < 3; ++number) index.insert(spill_key(1, number));
  const auto evicted_by = [&index](int number) {
    const int oldest = index.in_order().front();
    const BlockKey key = index.key(oldest);
    const auto place = index.insert(spill_key(2, number));
    EXPECT_TRUE(place && place->was_evicted && place->slot == oldest);
    index.check_invariants();
    return key;
  };
  EXPECT_EQ(evicted_by(0), spill_key(0, 2));
  index.touch(*index.find(spill_key(0, 1)));
  EXPECT_EQ(evicted_by(1), spill_key(1, 2));
  EXPECT_EQ(evicted_by(2), spill_key(1, 1));
}

TEST(SpillIndex, ACircleOfParentsIsLeft) {
  BlockKey a = spill_key(0, 0), b = spill_key(0, 1);
  a.parent = b.hash;
  const std::vector<SpillIndex::Entry> entries = {{0, a}, {1, b}};
  SpillIndex index(2, entries);
  index.touch(0);
  index.check_invariants();
}

TEST(SpillIndex, OfTwoOfOneHashTheLaterCounts) {
  const std::vector<SpillIndex::Entry> entries = {
      {3, spill_key(0, 0)}, {1, spill_key(0, 1)}, {0, spill_key(0, 0)}};
  SpillIndex index(4, entries);
  index.check_invariants();
  EXPECT_EQ(index.size(), 2);
  EXPECT_EQ(index.find(spill_key(0, 0)), 0);
}

// Against a model that is a list of what was used.
TEST(SpillIndex, RandomHistories) {
  for (int seed = 0; seed < 200; ++seed) {
    std::mt19937 random(seed);
    const auto pick = [&random](int low, int high) {
      return std::uniform_int_distribution(low, high)(random);
    };
    const int num_slots = pick(1, 12);
    SpillIndex index(num_slots);
    std::vector<std::pair<int, int>> order;  // least recently used first
    const auto use = [&order](int chain, int number) {
      for (int each = number; each >= 0; --each) {
        const auto found = std::find(order.begin(), order.end(), std::pair(chain, each));
        if (found == order.end()) return;
        order.erase(found);
        order.emplace_back(chain, each);
      }
    };
    for (int step = 0; step < 200; ++step) {
      const int chain = pick(0, 3), number = pick(0, 5);
      const auto slot = index.find(spill_key(chain, number));
      const bool is_known =
          std::find(order.begin(), order.end(), std::pair(chain, number)) != order.end();
      ASSERT_EQ(slot.has_value(), is_known) << "seed " << seed << ", step " << step;
      if (!slot) {
        const auto place = index.insert(spill_key(chain, number));
        ASSERT_TRUE(place);
        EXPECT_EQ(place->was_evicted, static_cast<int>(order.size()) == num_slots);
        if (place->was_evicted) order.erase(order.begin());
        order.emplace_back(chain, number);
        use(chain, number);
      } else if (pick(0, 3) == 0) {
        index.erase(*slot);
        std::erase(order, std::pair(chain, number));
      } else {
        index.touch(*slot);
        use(chain, number);
      }
      std::vector<std::pair<int, int>> found;
      for (const int each : index.in_order()) {
        const int of_chain = static_cast<int>(index.key(each).hash.low) - 1;
        found.emplace_back(of_chain, static_cast<int>(index.key(each).hash.high) - 1);
      }
      ASSERT_EQ(found, order) << "seed " << seed << ", step " << step;
      index.check_invariants();
    }
  }
}

}  // namespace
}  // namespace tutti::cache
