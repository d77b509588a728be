#include "cache/block_pool.h"

#include "base/check.h"

namespace tutti::cache {

BlockPool::BlockPool(int num_blocks) {
  TUTTI_CHECK(num_blocks >= 1) << "a pool of " << num_blocks << " blocks";
  ref_counts_.resize(num_blocks, 0);
  free_.reserve(num_blocks);
  for (int i = num_blocks - 1; i >= 0; --i) free_.push_back(BlockId(i));
}

std::optional<std::vector<BlockId>> BlockPool::take(int n) {
  TUTTI_CHECK(n >= 0) << "take(" << n << ")";
  if (n > num_free()) return std::nullopt;
  std::vector<BlockId> taken(free_.rbegin(), free_.rbegin() + n);
  free_.resize(free_.size() - n);
  for (const BlockId block : taken) ref_count_of(block) = 1;
  return taken;
}

void BlockPool::add_reference(BlockId block) {
  TUTTI_CHECK(ref_count_of(block) > 0) << "block " << block.value << " is free";
  ++ref_count_of(block);
}

void BlockPool::release(std::span<const BlockId> blocks) {
  for (const BlockId block : blocks) {
    int& count = ref_count_of(block);
    TUTTI_CHECK(count > 0) << "block " << block.value << " is free already";
    if (--count == 0) free_.push_back(block);
  }
}

int BlockPool::ref_count(BlockId block) const {
  return const_cast<BlockPool*>(this)->ref_count_of(block);
}

int& BlockPool::ref_count_of(BlockId block) {
  TUTTI_CHECK(block.value >= 0 && block.value < num_blocks())
      << "block " << block.value << " of " << num_blocks();
  return ref_counts_[block.value];
}

void BlockPool::check_invariants() const {
  std::vector<bool> is_free(ref_counts_.size(), false);
  for (const BlockId block : free_) {
    TUTTI_CHECK(ref_count(block) == 0) << "block " << block.value << " is free and referenced";
    TUTTI_CHECK(!is_free[block.value]) << "block " << block.value << " is free twice";
    is_free[block.value] = true;
  }
  for (std::size_t i = 0; i < ref_counts_.size(); ++i) {
    TUTTI_CHECK(ref_counts_[i] >= 0) << "block " << i << " has " << ref_counts_[i] << " references";
    TUTTI_CHECK(is_free[i] == (ref_counts_[i] == 0)) << "block " << i << " is lost";
  }
}

}  // namespace tutti::cache
