#include "cache/spill_index.h"

#include <algorithm>

#include "base/check.h"

namespace tutti::cache {

SpillIndex::SpillIndex(int num_slots, std::span<const Entry> entries) : slots_(num_slots) {
  TUTTI_CHECK(num_slots >= 1) << "a tier of " << num_slots << " slots";
  free_.reserve(num_slots);
  for (const Entry& each : entries) {
    const auto other = by_hash_.find(each.key.hash);
    if (other != by_hash_.end()) erase(other->second);
    list(each.slot, each.key);
  }
  free_.clear();
  for (int slot = num_slots - 1; slot >= 0; --slot) {
    if (!slots_[slot].is_listed) free_.push_back(slot);
  }
  for (const Entry& each : entries) {
    if (slots_[each.slot].is_listed) touch(each.slot);
  }
}

std::optional<int> SpillIndex::find(const BlockKey& key) const {
  const auto found = by_hash_.find(key.hash);
  if (found == by_hash_.end() || !(slots_[found->second].key == key)) return std::nullopt;
  return found->second;
}

std::optional<SpillIndex::Place> SpillIndex::insert(const BlockKey& key) {
  if (by_hash_.contains(key.hash)) return std::nullopt;
  const bool is_full = free_.empty();
  if (is_full) erase(order_.front());
  const int slot = free_.back();
  free_.pop_back();
  list(slot, key);
  touch(slot);
  return Place{slot, is_full};
}

void SpillIndex::list(int slot, const BlockKey& key) {
  slots_[slot].is_listed = true;
  slots_[slot].key = key;
  slots_[slot].place = order_.insert(order_.end(), slot);
  by_hash_[key.hash] = slot;
}

void SpillIndex::erase(int slot) {
  TUTTI_CHECK(slots_[slot].is_listed) << "slot " << slot << " is free";
  by_hash_.erase(slots_[slot].key.hash);
  order_.erase(slots_[slot].place);
  slots_[slot] = {};
  free_.push_back(slot);
}

void SpillIndex::touch(int slot) {
  TUTTI_CHECK(slots_[slot].is_listed) << "slot " << slot << " is free";
  move_to_end(slot);
  // A damaged file can make a circle of parents.
  for (int i = 0; i < size(); ++i) {
    const auto parent = by_hash_.find(slots_[slot].key.parent);
    if (parent == by_hash_.end()) return;
    slot = parent->second;
    move_to_end(slot);
  }
}

void SpillIndex::move_to_end(int slot) { order_.splice(order_.end(), order_, slots_[slot].place); }

void SpillIndex::check_invariants() const {
  int num_listed = 0;
  for (int slot = 0; slot < num_slots(); ++slot) {
    const Slot& each = slots_[slot];
    const bool is_free = std::count(free_.begin(), free_.end(), slot) == 1;
    TUTTI_CHECK(is_free != each.is_listed) << "slot " << slot << " is free and listed, or neither";
    if (!each.is_listed) continue;
    ++num_listed;
    TUTTI_CHECK(by_hash_.at(each.key.hash) == slot) << "slot " << slot << " has another's hash";
    TUTTI_CHECK(*each.place == slot) << "slot " << slot << " is lost";
  }
  TUTTI_CHECK(num_listed == size() && by_hash_.size() == order_.size())
      << num_listed << " slots are listed, not " << size();
}

}  // namespace tutti::cache
