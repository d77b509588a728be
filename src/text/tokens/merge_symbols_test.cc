#include "text/tokens/merge_symbols.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

#include "text/tokens/piece_splitter.h"

namespace tutti::text {
namespace {

using MergeTable = std::map<std::pair<std::int32_t, std::int32_t>, Merge>;

// The definition: again and again the lowest rank, leftmost.
std::vector<std::int32_t> merge_by_definition(std::vector<std::int32_t> ids,
                                              const MergeTable& merges) {
  for (;;) {
    std::size_t best = ids.size();
    Merge best_merge;
    for (std::size_t i = 0; i + 1 < ids.size(); ++i) {
      const auto found = merges.find({ids[i], ids[i + 1]});
      if (found != merges.end() && found->second.rank < best_merge.rank) {
        best = i;
        best_merge = found->second;
      }
    }
    if (!best_merge.exists()) return ids;
    ids[best] = best_merge.id;
    ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(best) + 1);
  }
}

std::vector<std::int32_t> ids_of(const std::vector<Symbol>& symbols) {
  std::vector<std::int32_t> ids;
  for (const Symbol& symbol : symbols) ids.push_back(symbol.id);
  return ids;
}

TEST(MergeSymbolsTest, BothWaysEqualTheDefinition) {
  std::mt19937 random(1);
  for (int trial = 0; trial < 4000; ++trial) {
    // Merges in any order, also such that a later one makes a better one possible, and with ranks
    // that several share.
    MergeTable merges;
    std::int32_t next_id = 3;
    const bool shares_ranks = trial % 2 == 0;
    for (std::uint32_t rank = 0; rank < 14; ++rank) {
      const auto left = static_cast<std::int32_t>(random() % static_cast<unsigned>(next_id));
      const auto right = static_cast<std::int32_t>(random() % static_cast<unsigned>(next_id));
      merges[{left, right}] = {shares_ranks ? rank / 3 : 13 - rank, next_id++};
    }
    std::vector<Symbol> symbols(random() % 40);
    for (std::size_t i = 0; i < symbols.size(); ++i) {
      symbols[i] = {static_cast<std::int32_t>(random() % 3), static_cast<std::uint32_t>(i)};
    }
    const auto find = [&](const Symbol& left, const Symbol& right, std::uint32_t) {
      const auto found = merges.find({left.id, right.id});
      return found == merges.end() ? Merge{} : found->second;
    };
    const std::vector<std::int32_t> expected = merge_by_definition(ids_of(symbols), merges);
    const auto size = static_cast<std::uint32_t>(symbols.size());
    std::vector<Symbol> in_short = symbols;
    merge_short(in_short, size, find);
    ASSERT_EQ(ids_of(in_short), expected) << "short, trial " << trial;
    if (symbols.empty()) continue;
    std::vector<Symbol> in_long = symbols;
    merge_long(in_long, size, find);
    ASSERT_EQ(ids_of(in_long), expected) << "long, trial " << trial;
  }
}

std::string pieces_of(std::string_view text, SplitBehavior behavior, bool invert = false) {
  std::vector<TextSpan> pieces;
  PieceSplitter splitter({0, text.size()}, behavior, invert, pieces);
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '-') splitter.match({i, i + 1});
  }
  splitter.finish();
  std::string joined;
  for (const TextSpan piece : pieces) {
    joined += (joined.empty() ? "" : "|");
    joined += text.substr(piece.begin, piece.end - piece.begin);
  }
  return joined;
}

// The examples of Hugging Face's documentation of split behaviours.
TEST(PieceSplitterTest, BehavesAsDocumented) {
  const std::string_view text = "the-final--countdown";
  EXPECT_EQ(pieces_of(text, SplitBehavior::kRemoved), "the|final|countdown");
  EXPECT_EQ(pieces_of(text, SplitBehavior::kIsolated), "the|-|final|-|-|countdown");
  EXPECT_EQ(pieces_of(text, SplitBehavior::kMergedWithPrevious), "the-|final-|-|countdown");
  EXPECT_EQ(pieces_of(text, SplitBehavior::kMergedWithNext), "the|-final|-|-countdown");
  EXPECT_EQ(pieces_of(text, SplitBehavior::kContiguous), "the|-|final|--|countdown");
  EXPECT_EQ(pieces_of(text, SplitBehavior::kRemoved, true), "-|-|-");
}

}  // namespace
}  // namespace tutti::text
