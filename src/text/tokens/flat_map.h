// A hash table from 64-bit keys to small values, built once and then read.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace tutti::text {

// Open addressing with linear probing, at most half full: a look-up reads one cache line as a rule.
// Thread safety: immutable once filled.
template <typename Value>
class FlatMap {
 public:
  explicit FlatMap(std::size_t expected_size = 0)
      : slots_(std::bit_ceil(2 * expected_size + 16)), mask_(slots_.size() - 1) {}

  // Replaces the value of a key that is there. `key` is not kNoKey.
  void insert(std::uint64_t key, Value value) {
    if (2 * (size_ + 1) > slots_.size()) grow();
    Slot& slot = slots_[slot_of(key)];
    if (slot.key == kNoKey) ++size_;
    slot = {key, value};
  }

  const Value* find(std::uint64_t key) const {
    const Slot& slot = slots_[slot_of(key)];
    return slot.key == key ? &slot.value : nullptr;
  }

  static constexpr std::uint64_t kNoKey = ~std::uint64_t{0};

 private:
  struct Slot {
    std::uint64_t key = kNoKey;
    Value value{};
  };

  std::size_t slot_of(std::uint64_t key) const {
    std::uint64_t hash = key * 0x9E3779B97F4A7C15u;
    hash ^= hash >> 32;
    std::size_t index = hash & mask_;
    while (slots_[index].key != key && slots_[index].key != kNoKey) index = (index + 1) & mask_;
    return index;
  }

  void grow() {
    std::vector<Slot> old(2 * slots_.size());
    old.swap(slots_);
    mask_ = slots_.size() - 1;
    for (const Slot& slot : old) {
      if (slot.key != kNoKey) slots_[slot_of(slot.key)] = slot;
    }
  }

  std::vector<Slot> slots_;
  std::size_t mask_;
  std::size_t size_ = 0;
};

// Key of an ordered pair of ids.
inline std::uint64_t pair_key(std::int32_t left, std::int32_t right) {
  return static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32 |
         static_cast<std::uint32_t>(right);
}

}  // namespace tutti::text
