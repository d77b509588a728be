// Merging the symbols of a word, lowest rank first, leftmost of equal rank.
#pragma once

#include <cstdint>
#include <limits>
#include <vector>

#include "text/tokens/merge_queue.h"

namespace tutti::text {

struct Symbol {
  std::int32_t id = -1;
  std::uint32_t begin = 0;  // its first byte in the word
};

struct Merge {
  static constexpr std::uint32_t kNoRank = std::numeric_limits<std::uint32_t>::max();
  std::uint32_t rank = kNoRank;  // lower merges first
  std::int32_t id = -1;          // of the merged symbol

  bool exists() const { return rank != kNoRank; }
};

// find_merge(left, right, right_end) gives what two neighbours merge into: right_end is the byte
// behind `right`. It depends on nothing else, so that a candidate can be checked by asking again.

// Quadratic, for words of a few dozen symbols.
template <typename FindMerge>
void merge_short(std::vector<Symbol>& symbols, std::uint32_t word_size, FindMerge&& find_merge) {
  const auto merge_at = [&](std::size_t i) {
    const std::uint32_t end = i + 2 < symbols.size() ? symbols[i + 2].begin : word_size;
    return find_merge(symbols[i], symbols[i + 1], end);
  };
  static constexpr std::size_t kMaxSymbols = 64;
  std::array<Merge, kMaxSymbols> merges;
  for (std::size_t i = 0; i + 1 < symbols.size(); ++i) merges[i] = merge_at(i);
  while (symbols.size() > 1) {
    const std::size_t num_pairs = symbols.size() - 1;
    std::size_t best = 0;
    for (std::size_t i = 1; i < num_pairs; ++i) {
      if (merges[i].rank < merges[best].rank) best = i;
    }
    if (!merges[best].exists()) break;
    symbols[best].id = merges[best].id;
    symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(best) + 1);
    std::copy(merges.begin() + best + 1, merges.begin() + num_pairs, merges.begin() + best);
    if (best > 0) merges[best - 1] = merge_at(best - 1);
    if (best + 1 < symbols.size()) merges[best] = merge_at(best);
  }
}

// A step along sorted lists for each merge; see MergeQueue. At most 2^32 - 1 symbols.
template <typename FindMerge>
void merge_long(std::vector<Symbol>& symbols, std::uint32_t word_size, FindMerge&& find_merge) {
  constexpr std::uint32_t kNone = std::numeric_limits<std::uint32_t>::max();
  const auto count = static_cast<std::uint32_t>(symbols.size());
  std::vector<std::uint32_t> next(count);
  std::vector<std::uint32_t> previous(count);
  for (std::uint32_t i = 0; i < count; ++i) {
    next[i] = i + 1 < count ? i + 1 : kNone;
    previous[i] = i > 0 ? i - 1 : kNone;
  }
  const auto merge_at = [&](std::uint32_t i) {
    const std::uint32_t right = next[i];
    const std::uint32_t end = next[right] == kNone ? word_size : symbols[next[right]].begin;
    return find_merge(symbols[i], symbols[right], end);
  };
  MergeQueue queue;
  const auto push_at = [&](std::uint32_t i) {
    const Merge merge = merge_at(i);
    if (merge.exists()) queue.push({merge.rank, i});
  };
  for (std::uint32_t i = 0; i + 1 < count; ++i) push_at(i);

  std::vector<bool> is_merged(count, false);  // into the symbol on its left
  MergeCandidate candidate{};
  while (queue.pop(candidate)) {
    const std::uint32_t left = candidate.position;
    if (is_merged[left] || next[left] == kNone) continue;
    const Merge merge = merge_at(left);
    if (merge.rank != candidate.rank) continue;  // a neighbour has changed since
    const std::uint32_t right = next[left];
    symbols[left].id = merge.id;
    is_merged[right] = true;
    next[left] = next[right];
    if (next[left] != kNone) {
      previous[next[left]] = left;
      push_at(left);
    }
    if (previous[left] != kNone) push_at(previous[left]);
  }
  std::size_t kept = 0;
  for (std::uint32_t i = 0; i != kNone; i = next[i]) symbols[kept++] = symbols[i];
  symbols.resize(kept);
}

template <typename FindMerge>
void merge_symbols(std::vector<Symbol>& symbols, std::uint32_t word_size, FindMerge&& find_merge) {
  constexpr std::size_t kMaxShort = 48;
  if (symbols.size() < 2) return;
  if (symbols.size() <= kMaxShort) {
    merge_short(symbols, word_size, find_merge);
  } else {
    merge_long(symbols, word_size, find_merge);
  }
}

}  // namespace tutti::text
