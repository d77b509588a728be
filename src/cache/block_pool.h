// Pages of the KV cache, counted and shared. Integers only: the bytes live in device/.
//
// A block that is marked as kept still holds something worth finding when its last owner lets go of
// it: it is then cached, and given away only when no free one is left, least recently used first.
//
// Thread safety: owned by the engine's thread.
// Invariants: a block is used (ref_count > 0), free (in the free list once, not kept) or cached
//   (kept, in the list of the least recently used once);
//   num_free + num_cached + num_used == num_blocks. check_invariants() verifies all of it.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "core/ids.h"

namespace tutti::cache {

class BlockPool {
 public:
  explicit BlockPool(int num_blocks);  // >= 1

  // Takes `n` >= 0 blocks, each with one reference: free ones, then cached ones, which are no
  // longer kept and of which `on_evict` is told. All or nothing: nullopt and no change when fewer
  // than `n` are available.
  using OnEvict = std::function<void(BlockId)>;
  std::optional<std::vector<BlockId>> take(int n, const OnEvict& on_evict = {});

  // Another owner of a used or a cached block.
  void add_reference(BlockId block);

  // Each of `blocks` loses one reference. Those that lose the last are free or cached; of the
  // latter, the last of `blocks` is the first to go.
  void release(std::span<const BlockId> blocks);

  // A used block is to be cached later, or no longer.
  void keep(BlockId block);
  void forget(BlockId block);

  int num_blocks() const { return static_cast<int>(ref_counts_.size()); }
  int num_free() const { return static_cast<int>(free_.size()); }
  int num_cached() const { return num_cached_; }
  int num_available() const { return num_free() + num_cached_; }
  int num_used() const { return num_blocks() - num_available(); }
  int ref_count(BlockId block) const;
  bool is_kept(BlockId block) const;
  // Cached blocks, the next to go first. O(num_cached).
  std::vector<BlockId> cached_blocks() const;

  // Aborts with what is wrong. O(num_blocks): for tests.
  void check_invariants() const;

 private:
  BlockId evict();
  void check_range(BlockId block) const;
  void push_recent(std::int32_t index);
  void unlink(std::int32_t index);

  // Links of the list of the cached. Entry num_blocks is its head: next is the least recently used.
  struct Links {
    std::int32_t previous, next;
  };

  std::vector<int> ref_counts_;
  std::vector<bool> is_kept_;
  std::vector<BlockId> free_;  // a stack: what was used last is warmest
  std::vector<Links> links_;
  int num_cached_ = 0;
};

}  // namespace tutti::cache
