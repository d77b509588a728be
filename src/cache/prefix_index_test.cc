#include "cache/prefix_index.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <random>

namespace tutti::cache {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(SipHash, GivesTheReferencesVectors) {
  // vectors_sip128 of the reference implementation: key 00 01 .. 0f, inputs "" and 00.
  const HashKey key{0x0706050403020100, 0x0f0e0d0c0b0a0908};
  EXPECT_EQ(sip_hash(key, {}), (Hash128{0xe6a825ba047f81a3, 0x930255c71472f66d}));
  const std::byte zero{0};
  EXPECT_EQ(sip_hash(key, {&zero, 1}), (Hash128{0x44af996bd8c187da, 0x45fc229b11597634}));
}

struct Prefix {
  Prefix(const PrefixIndex& index, std::string salt_text, std::vector<TokenId> all_tokens)
      : salt(std::move(salt_text)), tokens(std::move(all_tokens)) {
    Hash128 hash = index.root_hash(salt);
    const std::span<const TokenId> view = tokens;
    for (std::size_t i = 0; (i + 1) * kBlockSize <= tokens.size(); ++i) {
      hash = index.block_hash(hash, view.subspan(i * kBlockSize, kBlockSize));
      hashes.push_back(hash);
    }
  }
  operator PrefixTokens() const { return {salt, hashes, tokens}; }  // NOLINT: a view of it

  std::string salt;
  std::vector<Hash128> hashes;
  std::vector<TokenId> tokens;
};

std::vector<TokenId> counting(int count, TokenId first = 0) {
  std::vector<TokenId> tokens(count);
  for (int i = 0; i < count; ++i) tokens[i] = first + i;
  return tokens;
}

TEST(PrefixIndex, FindsFullBlocksAndPartOfTheNext) {
  PrefixIndex index(8, HashKey{1, 2});
  const Prefix prefix(index, "s", counting(96));
  index.insert(prefix, 0, std::nullopt, BlockId(5));
  index.insert(prefix, 1, BlockId(5), BlockId(3));
  const PrefixMatch all = index.match(prefix, 96);
  EXPECT_THAT(all.blocks, ElementsAre(BlockId(5), BlockId(3)));
  EXPECT_FALSE(all.partial_block);
  const PrefixMatch part = index.match(prefix, 63);
  EXPECT_THAT(part.blocks, ElementsAre(BlockId(5)));
  EXPECT_EQ(part.partial_block, BlockId(3));
  EXPECT_EQ(part.num_partial, 31);
  EXPECT_EQ(part.num_tokens(), 63);

  std::vector<TokenId> tokens = counting(96);
  tokens[40] = 7;
  const PrefixMatch other = index.match(Prefix(index, "s", tokens), 96);
  EXPECT_THAT(other.blocks, ElementsAre(BlockId(5)));
  EXPECT_EQ(other.num_partial, 8);
  EXPECT_EQ(index.match(Prefix(index, "t", counting(96)), 96).num_tokens(), 0);
}

TEST(PrefixIndex, TheLongestPartWins) {
  PrefixIndex index(8, HashKey{1, 2});
  for (int i = 0; i < 4; ++i) {
    std::vector<TokenId> tokens = counting(32);
    tokens[5 + 3 * i] = 99;
    index.insert(Prefix(index, "s", tokens), 0, std::nullopt, BlockId(i));
  }
  const PrefixMatch match = index.match(Prefix(index, "s", counting(32)), 31);
  EXPECT_EQ(match.partial_block, BlockId(3));
  EXPECT_EQ(match.num_partial, 14);
}

TEST(PrefixIndex, EqualBlocksAreListedOnce) {
  PrefixIndex index(4, HashKey{1, 2});
  const Prefix prefix(index, "s", counting(64));
  EXPECT_EQ(index.insert(prefix, 0, std::nullopt, BlockId(0)), BlockId(0));
  EXPECT_EQ(index.insert(prefix, 0, std::nullopt, BlockId(1)), BlockId(0));
  EXPECT_FALSE(index.contains(BlockId(1)));
  EXPECT_EQ(index.size(), 1);
}

// A prefix whose hashes are made to be those of another one finds nothing of it.
TEST(PrefixIndex, ACollisionGivesNothingForeign) {
  PrefixIndex index(4, HashKey{1, 2});
  const Prefix prefix(index, "s", counting(64));
  index.insert(prefix, 0, std::nullopt, BlockId(0));
  index.insert(prefix, 1, BlockId(0), BlockId(1));
  Prefix forged(index, "s", counting(64, 1000));
  forged.hashes = prefix.hashes;
  EXPECT_EQ(index.match(forged, 64).num_tokens(), 0);
  EXPECT_FALSE(index.insert(forged, 0, std::nullopt, BlockId(2)));
  Prefix salted(index, "t", counting(64));
  salted.hashes = prefix.hashes;
  EXPECT_EQ(index.match(salted, 64).num_tokens(), 0);
  EXPECT_FALSE(index.insert(salted, 0, std::nullopt, BlockId(2)));
  // The second block's tokens are equal, its parent is not.
  std::vector<TokenId> tokens = counting(64);
  tokens[0] = 1000;
  Prefix moved(index, "s", tokens);
  index.insert(moved, 0, std::nullopt, BlockId(2));
  moved.hashes[1] = prefix.hashes[1];
  EXPECT_THAT(index.match(moved, 64).blocks, ElementsAre(BlockId(2)));
  EXPECT_FALSE(index.insert(moved, 1, BlockId(2), BlockId(3)));
  index.check_invariants();
}

TEST(PrefixIndex, ErasesLeavesOnly) {
  PrefixIndex index(4, HashKey{1, 2});
  const Prefix prefix(index, "s", counting(64));
  index.insert(prefix, 0, std::nullopt, BlockId(0));
  index.insert(prefix, 1, BlockId(0), BlockId(1));
  EXPECT_DEATH(index.erase(BlockId(0)), "is a parent");
  EXPECT_DEATH(index.erase(BlockId(2)), "is not listed");
  index.erase(BlockId(1));
  EXPECT_THAT(index.match(prefix, 64).blocks, ElementsAre(BlockId(0)));
  index.erase(BlockId(0));
  EXPECT_THAT(index.match(prefix, 64).blocks, IsEmpty());
  EXPECT_EQ(index.size(), 0);
  index.check_invariants();
}

// Random trees over few tokens against a map of whole prefixes.
TEST(PrefixIndex, AgreesWithAMapOfPrefixes) {
  std::mt19937 random(3);
  constexpr int kNumBlocks = 64;
  PrefixIndex index(kNumBlocks, HashKey{5, 6});
  using Key = std::pair<std::string, std::vector<TokenId>>;
  std::map<Key, BlockId> listed;
  std::map<BlockId, Key> keys;
  for (int step = 0; step < 20000; ++step) {
    const std::string salt = random() % 2 ? "a" : "b";
    std::vector<TokenId> tokens;
    const int num_blocks = 1 + random() % 4;
    for (int i = 0; i < num_blocks; ++i) tokens.resize((i + 1) * kBlockSize, random() % 3);
    const Prefix prefix(index, salt, tokens);
    const auto key_of = [&](int n) {
      return Key{salt, std::vector<TokenId>(tokens.begin(), tokens.begin() + n * kBlockSize)};
    };
    const PrefixMatch match = index.match(prefix, static_cast<int>(tokens.size()));
    int num_expected = 0;
    while (num_expected < num_blocks && listed.contains(key_of(num_expected + 1))) ++num_expected;
    ASSERT_EQ(static_cast<int>(match.blocks.size()), num_expected);
    for (int i = 0; i < num_expected; ++i) ASSERT_EQ(match.blocks[i], listed.at(key_of(i + 1)));

    if (num_expected < num_blocks && index.size() < kNumBlocks) {
      BlockId free(0);
      while (keys.contains(free)) ++free.value;
      const auto parent = num_expected == 0 ? std::nullopt : std::optional(match.blocks.back());
      ASSERT_EQ(index.insert(prefix, num_expected, parent, free), free);
      listed[key_of(num_expected + 1)] = free;
      keys[free] = key_of(num_expected + 1);
    } else if (!keys.empty()) {
      // The longest prefix is nobody's parent.
      auto longest = keys.begin();
      for (auto each = keys.begin(); each != keys.end(); ++each) {
        if (each->second.second.size() > longest->second.second.size()) longest = each;
      }
      index.erase(longest->first);
      listed.erase(longest->second);
      keys.erase(longest);
    }
    if (step % 100 == 0) index.check_invariants();
  }
}

}  // namespace
}  // namespace tutti::cache
