// A trie over bytes, walked one byte at a time.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "text/tokens/flat_map.h"

namespace tutti::text {

// Thread safety: immutable once filled.
class ByteTrie {
 public:
  static constexpr std::int32_t kRoot = 0;
  static constexpr std::int32_t kNoNode = -1;
  static constexpr std::int32_t kNoValue = -1;

  // A key that is there keeps its first value. value >= 0.
  void insert(std::string_view key, std::int32_t value) {
    std::int32_t node = kRoot;
    for (const char byte : key) {
      const std::int32_t* child = edges_.find(edge_key(node, byte));
      if (child == nullptr) {
        const auto added = static_cast<std::int32_t>(values_.size());
        edges_.insert(edge_key(node, byte), added);
        values_.push_back(kNoValue);
        node = added;
      } else {
        node = *child;
      }
    }
    if (values_[node] == kNoValue) values_[node] = value;
  }

  // kNoNode when no key goes on that way.
  std::int32_t child(std::int32_t node, char byte) const {
    const std::int32_t* found = edges_.find(edge_key(node, byte));
    return found == nullptr ? kNoNode : *found;
  }
  // The value of the key that ends at `node`, or kNoValue.
  std::int32_t value(std::int32_t node) const { return values_[node]; }

 private:
  static std::uint64_t edge_key(std::int32_t node, char byte) {
    return static_cast<std::uint64_t>(node) << 8 | static_cast<unsigned char>(byte);
  }

  FlatMap<std::int32_t> edges_;
  std::vector<std::int32_t> values_{kNoValue};
};

}  // namespace tutti::text
