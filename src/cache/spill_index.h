// Which slot of a spill file holds which block, and which slot is the next to be given away.
//
// The least recently used goes first, and of a chain the last block before those that it follows:
// a block whose parents are gone is found by nobody.
//
// Thread safety: owned by the engine's thread.
// Invariants: a slot is free or listed; a listed one is in the order of use once and under its
// hash.
//   check_invariants() verifies it.
#pragma once

#include <list>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "cache/block_key.h"

namespace tutti::cache {

class SpillIndex {
 public:
  struct Entry {
    int slot = 0;
    BlockKey key;
  };
  // `entries`: what stands in the slots already, each slot at most once, the last used last. Of
  // two with one hash the later counts.
  explicit SpillIndex(int num_slots, std::span<const Entry> entries = {});

  // The slot of a block; all of the key is compared.
  std::optional<int> find(const BlockKey& key) const;

  struct Place {
    int slot = 0;
    bool was_evicted = false;  // another block had it
  };
  // Lists a block that find() does not know, as the most recently used, in a free slot or in that
  // of the least recently used. nullopt when another block has its hash.
  std::optional<Place> insert(const BlockKey& key);
  void erase(int slot);

  // The block is used now, and so are all before it. O(blocks before it).
  void touch(int slot);

  int num_slots() const { return static_cast<int>(slots_.size()); }
  int size() const { return static_cast<int>(order_.size()); }
  const BlockKey& key(int slot) const { return slots_[slot].key; }
  // Least recently used first. O(size).
  std::vector<int> in_order() const { return {order_.begin(), order_.end()}; }

  void check_invariants() const;

 private:
  struct Slot {
    bool is_listed = false;
    std::list<int>::iterator place;
    BlockKey key;
  };
  void list(int slot, const BlockKey& key);
  void move_to_end(int slot);

  std::vector<Slot> slots_;
  std::vector<int> free_;
  std::list<int> order_;
  std::unordered_map<Hash128, int> by_hash_;
};

}  // namespace tutti::cache
