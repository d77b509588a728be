// Words of one text that were encoded before.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

namespace tutti::text {

// Direct-mapped and bounded: a word that falls on another's place takes it over. Lives as long as
// one call of encode, so that nothing is shared between threads or kept of anybody's text.
// Thread safety: one thread at a time. `text` behind the words must outlive it.
class WordCache {
 public:
  explicit WordCache(std::size_t num_words)
      : entries_(std::bit_ceil(std::clamp<std::size_t>(num_words, 16, kMaxEntries))),
        mask_(entries_.size() - 1) {}

  // Appends the ids of `word` to `ids`: from an earlier place in `ids`, or by calling
  // encode_word(word), which appends.
  template <typename EncodeWord>
  void append(std::string_view word, std::vector<std::int32_t>& ids, EncodeWord&& encode_word) {
    if (word.size() > kMaxWordBytes) {
      encode_word(word);
      return;
    }
    Entry& entry = entries_[hash(word) & mask_];
    const std::size_t begin = ids.size();
    if (entry.size == word.size() && std::memcmp(entry.word, word.data(), word.size()) == 0) {
      ids.resize(begin + entry.num_ids);
      std::copy_n(ids.begin() + static_cast<std::ptrdiff_t>(entry.ids_begin), entry.num_ids,
                  ids.begin() + static_cast<std::ptrdiff_t>(begin));
      return;
    }
    encode_word(word);
    entry = {word.data(), static_cast<std::uint32_t>(word.size()),
             static_cast<std::uint32_t>(ids.size() - begin), begin};
  }

 private:
  static constexpr std::size_t kMaxEntries = 1 << 15;
  static constexpr std::size_t kMaxWordBytes = 256;

  struct Entry {
    const char* word = nullptr;
    std::uint32_t size = 0;  // 0: free; words are not empty
    std::uint32_t num_ids = 0;
    std::size_t ids_begin = 0;
  };

  static std::uint64_t hash(std::string_view word) {
    constexpr std::uint64_t kMultiplier = 0x9E3779B97F4A7C15u;
    std::uint64_t state = word.size() * kMultiplier;
    const auto mix = [&](std::uint64_t block) {
      state = (state ^ block) * kMultiplier;
      state ^= state >> 29;
    };
    std::size_t i = 0;
    for (; i + 8 <= word.size(); i += 8) {
      std::uint64_t block;
      std::memcpy(&block, word.data() + i, 8);
      mix(block);
    }
    std::uint64_t rest = 0;
    std::memcpy(&rest, word.data() + i, word.size() - i);
    mix(rest);
    return state ^ state >> 32;
  }

  std::vector<Entry> entries_;
  std::size_t mask_;
};

}  // namespace tutti::text
