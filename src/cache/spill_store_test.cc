#include "cache/spill_store.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>
#include <thread>

#include "tests/support/memory_storage.h"
#include "tests/support/spill_blocks.h"

namespace tutti::cache {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::kSpillBlockBytes;
using testing::MemoryStorage;
using testing::spill_content;
using testing::spill_filler;
using testing::spill_key;
using testing::SpillBytes;

class SpillStoreTest : public ::testing::Test {
 protected:
  std::unique_ptr<SpillStore> open(int num_slots) {
    auto store =
        SpillStore::open(std::make_unique<MemoryStorage>(bytes_),
                         {.identity = "a model",
                          .block_bytes = kSpillBlockBytes,
                          .max_bytes = SpillFile::kHeaderBytes +
                                       num_slots * SpillFile::slot_bytes(kSpillBlockBytes)});
    TUTTI_CHECK(store.ok()) << store.status().message();
    return std::move(*store);
  }
  static bool put(SpillStore& store, int chain, int number) {
    return store.put(spill_key(chain, number), seconds(60), spill_filler(chain, number));
  }
  // Whether the block is there; then it has its own content.
  static bool has(SpillStore& store, int chain, int number) {
    const auto found = store.get(spill_key(chain, number), seconds(60)).bytes;
    if (found.empty()) return false;
    const auto content = spill_content(chain, number);
    EXPECT_TRUE(std::equal(found.begin(), found.end(), content.begin(), content.end()))
        << "chain " << chain << ", block " << number;
    return true;
  }

  std::shared_ptr<SpillBytes> bytes_ = std::make_shared<SpillBytes>();
};

TEST_F(SpillStoreTest, GivesWhatWasPutAlsoAfterARestart) {
  {
    const auto store = open(10);
    for (int number = 0; number < 5; ++number) EXPECT_TRUE(put(*store, 0, number));
    EXPECT_FALSE(put(*store, 0, 2)) << "it is there";
    for (int number = 0; number < 5; ++number) EXPECT_TRUE(has(*store, 0, number));
    EXPECT_FALSE(has(*store, 0, 5));
    EXPECT_EQ(store->counters().num_written, 5u);
    EXPECT_EQ(store->counters().num_read, 5u);
  }
  const auto store = open(10);
  EXPECT_EQ(store->num_blocks(), 5);
  for (int number = 0; number < 5; ++number) EXPECT_TRUE(has(*store, 0, number));
}

// Any order of puts, gets, restarts and damages, in a store of any size: what it gives is right,
// and after puts alone the most recent are there.
TEST_F(SpillStoreTest, RandomHistories) {
  std::uint64_t num_read = 0, num_evicted = 0, num_damaged = 0;
  for (int seed = 0; seed < 60; ++seed) {
    std::mt19937 random(seed);
    const auto pick = [&random](int low, int high) {
      return std::uniform_int_distribution(low, high)(random);
    };
    bytes_ = std::make_shared<SpillBytes>();
    const int num_slots = pick(1, 20);
    auto store = open(num_slots);
    std::set<std::pair<int, int>> was_put;
    const auto take_counters = [&] {
      num_read += store->counters().num_read;
      num_evicted += store->counters().num_evicted;
      num_damaged += store->counters().num_damaged;
    };
    for (int step = 0; step < 150; ++step) {
      const int chain = pick(0, 4), number = pick(0, 6);
      const int action = pick(0, 19);
      if (action < 10) {
        const bool is_new = !store->contains(spill_key(chain, number));
        EXPECT_EQ(put(*store, chain, number), is_new);
        was_put.emplace(chain, number);
        EXPECT_TRUE(has(*store, chain, number) || !is_new);
      } else if (action < 18) {
        EXPECT_TRUE(!has(*store, chain, number) || was_put.contains({chain, number}));
        if (store->contains(spill_key(chain, number))) store->touch(spill_key(chain, number));
      } else if (action == 18) {
        take_counters();
        store = nullptr;
        store = open(num_slots);
      } else {
        store->flush();
        const std::lock_guard lock(bytes_->mutex);
        const int size = static_cast<int>(bytes_->bytes.size());
        const int header = static_cast<int>(SpillFile::kHeaderBytes);
        if (size > header) bytes_->bytes[pick(header, size - 1)] ^= std::byte{1};
      }
      ASSERT_LE(store->num_blocks(), num_slots);
      store->check_invariants();
    }
    take_counters();
    store->flush();
    ASSERT_LE(bytes_->bytes.size(),
              SpillFile::kHeaderBytes + num_slots * SpillFile::slot_bytes(kSpillBlockBytes));
  }
  EXPECT_GT(num_read, 1000u);
  EXPECT_GT(num_evicted, 100u);
  EXPECT_GT(num_damaged, 0u);
}

TEST_F(SpillStoreTest, ADamagedBlockIsForgotten) {
  auto store = open(4);
  put(*store, 0, 0);
  put(*store, 0, 1);
  store->flush();
  bytes_->bytes[SpillFile::kHeaderBytes + SpillFile::kHeadBytes] ^= std::byte{1};
  EXPECT_FALSE(has(*store, 0, 0));
  EXPECT_FALSE(store->contains(spill_key(0, 0)));
  EXPECT_TRUE(has(*store, 0, 1));
  EXPECT_EQ(store->counters().num_damaged, 1u);
  EXPECT_TRUE(store->is_on());
  EXPECT_TRUE(put(*store, 0, 0));
  EXPECT_TRUE(has(*store, 0, 0));
}

TEST_F(SpillStoreTest, IsTurnedOffByAnErrorOfWriting) {
  const auto store = open(4);
  std::atomic<int> num_calls = 0;
  put(*store, 0, 0);
  store->flush();
  bytes_->before_write = [&num_calls] {
    ++num_calls;
    return Status(ErrorKind::kUnavailable, "No space left on device");
  };
  put(*store, 0, 1);
  put(*store, 0, 2);
  store->flush();
  EXPECT_FALSE(store->is_on());
  EXPECT_FALSE(has(*store, 0, 0));
  EXPECT_FALSE(store->contains(spill_key(0, 0)));
  EXPECT_FALSE(put(*store, 0, 3));
  store->flush();
  EXPECT_EQ(num_calls, 1) << "it is not tried again";
  EXPECT_EQ(store->num_blocks(), 0);
}

TEST_F(SpillStoreTest, IsTurnedOffByAnErrorOfReading) {
  const auto store = open(4);
  put(*store, 0, 0);
  bytes_->before_read = [] { return Status(ErrorKind::kUnavailable, "Input/output error"); };
  EXPECT_FALSE(has(*store, 0, 0));
  EXPECT_FALSE(store->is_on());
}

// A disk that stands still: whoever may not wait goes on without.
TEST_F(SpillStoreTest, ASlowDiskIsNotWaitedForLongerThanAllowed) {
  const auto store = open(100);
  std::mutex gate;
  bytes_->before_write = [&gate] {
    const std::lock_guard lock(gate);
    return Status();
  };
  {
    const std::lock_guard lock(gate);
    int num_put = 0;
    while (store->put(spill_key(0, num_put), milliseconds(0), spill_filler(0, num_put))) ++num_put;
    EXPECT_EQ(num_put, SpillStore::num_buffers(kSpillBlockBytes));
    EXPECT_TRUE(store->get(spill_key(0, 0), milliseconds(1)).is_pending) << "not written yet";
    EXPECT_TRUE(store->contains(spill_key(0, 0)));
  }
  store->flush();
  EXPECT_TRUE(has(*store, 0, 0));
  EXPECT_TRUE(put(*store, 0, 50));
}

// Nor a read that hangs; when it ends at last, its block is there, and others are read.
TEST_F(SpillStoreTest, AReadIsNotWaitedForLongerThanAllowed) {
  const auto store = open(10);
  for (int number = 0; number < 3; ++number) put(*store, 0, number);
  store->flush();
  std::mutex gate;
  bytes_->before_read = [&gate] {
    const std::lock_guard lock(gate);
    return Status();
  };
  {
    const std::lock_guard lock(gate);
    for (const int number : {0, 0, 1, 2}) {
      EXPECT_TRUE(store->get(spill_key(0, number), milliseconds(1)).is_pending) << number;
    }
    for (int number = 3; number < 6; ++number) EXPECT_TRUE(put(*store, 0, number));
    store->flush();
  }
  for (int number = 3; number < 6; ++number) EXPECT_TRUE(has(*store, 0, number));
}

}  // namespace
}  // namespace tutti::cache
