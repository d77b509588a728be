#include "cache/spill_file.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/support/memory_storage.h"
#include "tests/support/spill_blocks.h"

namespace tutti::cache {
namespace {

using testing::kSpillBlockBytes;
using testing::MemoryStorage;
using testing::spill_content;
using testing::spill_key;
using testing::SpillBytes;

SpillLayout layout_of(int num_slots, std::string identity = "a model") {
  return {
      .identity = std::move(identity),
      .block_bytes = kSpillBlockBytes,
      .max_bytes = SpillFile::kHeaderBytes + num_slots * SpillFile::slot_bytes(kSpillBlockBytes)};
}

SpillFile open(const std::shared_ptr<SpillBytes>& bytes, const SpillLayout& layout) {
  auto file = SpillFile::open(std::make_unique<MemoryStorage>(bytes), layout);
  TUTTI_CHECK(file.ok()) << file.status().message();
  return std::move(*file);
}

void write(SpillFile& file, int slot, int number) {
  std::vector<std::byte> record(file.slot_bytes());
  const auto content = spill_content(0, number);
  std::copy(content.begin(), content.end(), record.begin() + SpillFile::kHeadBytes);
  const Status status = file.write(
      {.slot = slot, .stamp = static_cast<std::uint64_t>(number + 1), .key = spill_key(0, number)},
      record);
  ASSERT_TRUE(status.ok()) << status.message();
}

// Whether the slot gives that block; if it gives anything, it is that block's content.
bool reads(const SpillFile& file, int slot, int number) {
  std::vector<std::byte> record(file.slot_bytes());
  const Status status = file.read(slot, spill_key(0, number), record);
  if (!status.ok()) {
    EXPECT_EQ(status.kind(), ErrorKind::kCorrupt) << status.message();
    return false;
  }
  const auto content = spill_content(0, number);
  EXPECT_TRUE(std::equal(content.begin(), content.end(), record.begin() + SpillFile::kHeadBytes));
  return true;
}

TEST(SpillFile, HasWhatWasWrittenWhenItIsOpenedAgain) {
  const auto bytes = std::make_shared<SpillBytes>();
  HashKey key;
  {
    SpillFile file = open(bytes, layout_of(4));
    key = file.hash_key();
    EXPECT_TRUE(file.entries()->empty());
    write(file, 2, 1);
    write(file, 0, 2);
    EXPECT_TRUE(reads(file, 2, 1));
    EXPECT_FALSE(reads(file, 2, 2)) << "another block";
    EXPECT_FALSE(reads(file, 1, 1)) << "nothing";
  }
  SpillFile file = open(bytes, layout_of(4));
  EXPECT_EQ(file.hash_key().low, key.low);
  EXPECT_EQ(file.hash_key().high, key.high);
  const auto entries = *file.entries();
  ASSERT_EQ(entries.size(), 2u);
  EXPECT_EQ(entries[0].slot, 2) << "the last written stands last";
  EXPECT_EQ(entries[0].key, spill_key(0, 1));
  EXPECT_EQ(entries[1].slot, 0);
  EXPECT_TRUE(reads(file, 2, 1));
  EXPECT_TRUE(reads(file, 0, 2));
}

TEST(SpillFile, OfAnotherModelIsBegunAnew) {
  const auto bytes = std::make_shared<SpillBytes>();
  SpillFile first = open(bytes, layout_of(4));
  write(first, 0, 0);
  SpillLayout larger = layout_of(4);
  larger.block_bytes += 1;
  for (const SpillLayout& other :
       {layout_of(4, "b model"), layout_of(4, "a mode"), layout_of(4, ""), larger}) {
    SpillFile file = open(bytes, other);
    EXPECT_TRUE(file.entries()->empty());
    EXPECT_NE(file.hash_key().low, first.hash_key().low);
    SpillFile again = open(bytes, layout_of(4));
    EXPECT_TRUE(again.entries()->empty());
    write(again, 0, 0);
    first = std::move(again);
  }
}

TEST(SpillFile, KeepsToItsBound) {
  const auto bytes = std::make_shared<SpillBytes>();
  SpillFile file = open(bytes, layout_of(4));
  EXPECT_EQ(file.num_slots(), 4);
  for (int i = 0; i < 4; ++i) write(file, i, i);
  EXPECT_EQ(bytes->bytes.size(), layout_of(4).max_bytes);
  SpillFile smaller = open(bytes, layout_of(2));
  EXPECT_EQ(bytes->bytes.size(), layout_of(2).max_bytes);
  EXPECT_EQ(smaller.entries()->size(), 2u);
  SpillLayout none = layout_of(1);
  --none.max_bytes;
  const auto refused = SpillFile::open(std::make_unique<MemoryStorage>(bytes), none);
  EXPECT_EQ(refused.status().field(), "kv_spill_size");
}

class DamagedSpillFile : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto bytes = std::make_shared<SpillBytes>();
    SpillFile file = open(bytes, layout_of(3));
    write(file, 0, 0);
    write(file, 1, 1);
    before_ = bytes->bytes;
    write(file, 1, 2);  // in the place of another
    write(file, 2, 3);
    whole_ = bytes->bytes;
  }
  // Opens harmlessly and gives no block another content. How many blocks it gives.
  static int num_blocks_of(std::vector<std::byte> damaged) {
    const auto bytes = std::make_shared<SpillBytes>();
    bytes->bytes = std::move(damaged);
    const SpillFile file = open(bytes, layout_of(3));
    const auto entries = *file.entries();
    int num_blocks = 0;
    for (const SpillFile::Entry& each : entries) {
      for (int number = 0; number < 4; ++number) {
        if (each.key == spill_key(0, number)) num_blocks += reads(file, each.slot, number) ? 1 : 0;
      }
    }
    return num_blocks;
  }
  std::vector<std::byte> before_, whole_;
};

TEST_F(DamagedSpillFile, CutOffAnywhere) {
  EXPECT_EQ(num_blocks_of(whole_), 3);
  const std::size_t slot = SpillFile::slot_bytes(kSpillBlockBytes);
  for (std::size_t size = 0; size < whole_.size(); ++size) {
    auto damaged = whole_;
    damaged.resize(size);
    // A slot counts when head and bytes are there; its padding may be missing.
    int expected = 0;
    for (int i = 0; i < 3; ++i) {
      if (size >= SpillFile::kHeaderBytes + i * slot + SpillFile::kHeadBytes + kSpillBlockBytes) {
        ++expected;
      }
    }
    ASSERT_EQ(num_blocks_of(std::move(damaged)), expected) << size << " bytes";
  }
}

TEST_F(DamagedSpillFile, WritingWasCutOffAnywhere) {
  const std::size_t slot = SpillFile::slot_bytes(kSpillBlockBytes);
  const std::size_t used = SpillFile::kHeadBytes + kSpillBlockBytes;
  for (std::size_t size = 0; size <= used; ++size) {
    auto damaged = before_;
    const auto begin = static_cast<std::ptrdiff_t>(SpillFile::kHeaderBytes + slot);
    std::copy_n(whole_.begin() + begin, size, damaged.begin() + begin);
    const bool is_old_or_new =
        damaged == before_ || size == used ||
        std::equal(damaged.begin() + begin,
                   damaged.begin() + begin + static_cast<std::ptrdiff_t>(used),
                   whole_.begin() + begin);
    ASSERT_EQ(num_blocks_of(std::move(damaged)), is_old_or_new ? 2 : 1) << size << " bytes";
  }
}

TEST_F(DamagedSpillFile, AnyByteIsAnother) {
  const std::size_t slot = SpillFile::slot_bytes(kSpillBlockBytes);
  for (std::size_t at = 0; at < whole_.size(); ++at) {
    auto damaged = whole_;
    damaged[at] ^= std::byte{0x10};
    const int num_blocks = num_blocks_of(std::move(damaged));
    if (at < SpillFile::kHeaderBytes) {
      ASSERT_TRUE(num_blocks == 0 || num_blocks == 3) << "byte " << at;
    } else {
      // 216 bytes of a head mean something, then come the block's.
      const std::size_t in_slot = (at - SpillFile::kHeaderBytes) % slot;
      const bool matters = in_slot < 216 || (in_slot >= SpillFile::kHeadBytes &&
                                             in_slot < SpillFile::kHeadBytes + kSpillBlockBytes);
      ASSERT_EQ(num_blocks, matters ? 2 : 3) << "byte " << at;
    }
  }
}

}  // namespace
}  // namespace tutti::cache
