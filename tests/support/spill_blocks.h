// Blocks with keys and contents of their own, for tests of the second tier.
#pragma once

#include <cstddef>
#include <cstring>
#include <vector>

#include "cache/block_key.h"

namespace tutti::testing {

inline constexpr std::size_t kSpillBlockBytes = 96;

// Block `number` of chain `chain`, number 0 the first.
inline cache::BlockKey spill_key(int chain, int number) {
  const auto hash_of = [chain](int each) {
    return cache::Hash128{static_cast<std::uint64_t>(chain) + 1,
                          static_cast<std::uint64_t>(each + 1)};
  };
  cache::BlockKey key{.hash = hash_of(number), .parent = hash_of(number - 1), .root = hash_of(-1)};
  for (int i = 0; i < kBlockSize; ++i) key.tokens[i] = chain * 1000 + number * 32 + i;
  return key;
}

inline std::vector<std::byte> spill_content(int chain, int number) {
  std::vector<std::byte> content(kSpillBlockBytes);
  for (std::size_t i = 0; i < content.size(); ++i) {
    content[i] = static_cast<std::byte>(chain * 31 + number * 7 + static_cast<int>(i) + 1);
  }
  return content;
}

inline auto spill_filler(int chain, int number) {
  return [chain, number](std::span<std::byte> bytes) {
    const auto content = spill_content(chain, number);
    std::memcpy(bytes.data(), content.data(), content.size());
  };
}

}  // namespace tutti::testing
