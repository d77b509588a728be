// Pages of the KV cache, counted and shared. Integers only: the bytes live in device/.
//
// Thread safety: owned by the engine's thread.
// Invariants: a block is free (ref_count 0, in the free list once) or used (ref_count > 0);
//   num_free + num_used == num_blocks. check_invariants() verifies all of it.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "core/ids.h"

namespace tutti::cache {

class BlockPool {
 public:
  explicit BlockPool(int num_blocks);  // >= 1

  // Takes `n` >= 0 blocks, each with one reference. All or nothing: nullopt and no change when
  // fewer than `n` are free.
  std::optional<std::vector<BlockId>> take(int n);

  // Another owner of a used block.
  void add_reference(BlockId block);

  // Each of `blocks` loses one reference; those that lose the last are free again.
  void release(std::span<const BlockId> blocks);

  int num_blocks() const { return static_cast<int>(ref_counts_.size()); }
  int num_free() const { return static_cast<int>(free_.size()); }
  int num_used() const { return num_blocks() - num_free(); }
  int ref_count(BlockId block) const;

  // Aborts with what is wrong. O(num_blocks): for tests.
  void check_invariants() const;

 private:
  int& ref_count_of(BlockId block);

  std::vector<int> ref_counts_;
  std::vector<BlockId> free_;  // a stack: what was used last is warmest
};

}  // namespace tutti::cache
