// A sequence's list of blocks: position p lies in block p / kBlockSize, at offset p % kBlockSize.
#pragma once

#include <span>
#include <utility>
#include <vector>

#include "base/check.h"
#include "core/ids.h"

namespace tutti::cache {

// Blocks that hold positions [0, num_positions). 0, 1, 32, 33 → 0, 1, 1, 2.
constexpr int num_blocks_for(int num_positions) {
  return num_positions / kBlockSize + (num_positions % kBlockSize != 0 ? 1 : 0);
}

// Thread safety: owned by the engine's thread. Does not own references: who takes blocks from a
// BlockPool gives them back.
class BlockTable {
 public:
  std::span<const BlockId> blocks() const { return blocks_; }
  int num_blocks() const { return static_cast<int>(blocks_.size()); }
  // Positions that fit: [0, capacity()).
  int capacity() const { return num_blocks() * kBlockSize; }

  void append(std::span<const BlockId> blocks) {
    blocks_.insert(blocks_.end(), blocks.begin(), blocks.end());
  }

  // Another block with the same contents takes the place of block `index`.
  void replace(int index, BlockId block) {
    TUTTI_CHECK(index >= 0 && index < num_blocks()) << "block " << index << " of " << num_blocks();
    blocks_[index] = block;
  }

  // Empties the table and hands over what it held.
  std::vector<BlockId> take_all() { return std::exchange(blocks_, {}); }

  // Where the cache keeps `position`, which must be within capacity().
  SlotId slot(Position position) const {
    TUTTI_CHECK(position >= 0 && position < capacity())
        << "position " << position << " of " << capacity();
    const std::int64_t block = blocks_[position / kBlockSize].value;
    return SlotId(block * kBlockSize + position % kBlockSize);
  }

 private:
  std::vector<BlockId> blocks_;
};

}  // namespace tutti::cache
