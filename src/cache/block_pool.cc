#include "cache/block_pool.h"

#include "base/check.h"

namespace tutti::cache {

BlockPool::BlockPool(int num_blocks) {
  TUTTI_CHECK(num_blocks >= 1) << "a pool of " << num_blocks << " blocks";
  ref_counts_.resize(num_blocks, 0);
  is_kept_.resize(num_blocks, false);
  links_.resize(static_cast<std::size_t>(num_blocks) + 1);
  links_[num_blocks] = {num_blocks, num_blocks};
  free_.reserve(num_blocks);
  for (int i = num_blocks - 1; i >= 0; --i) free_.push_back(BlockId(i));
}

std::optional<std::vector<BlockId>> BlockPool::take(int n, const OnEvict& on_evict) {
  TUTTI_CHECK(n >= 0) << "take(" << n << ")";
  if (n > num_available()) return std::nullopt;
  std::vector<BlockId> taken;
  taken.reserve(n);
  for (int i = 0; i < n; ++i) {
    if (!free_.empty()) {
      taken.push_back(free_.back());
      free_.pop_back();
    } else {
      taken.push_back(evict());
      if (on_evict) on_evict(taken.back());
    }
    ref_counts_[taken.back().value] = 1;
  }
  return taken;
}

BlockId BlockPool::evict() {
  const std::int32_t oldest = links_.back().next;
  unlink(oldest);
  is_kept_[oldest] = false;
  return BlockId(oldest);
}

void BlockPool::add_reference(BlockId block) {
  check_range(block);
  int& count = ref_counts_[block.value];
  TUTTI_CHECK(count > 0 || is_kept_[block.value]) << "block " << block.value << " is free";
  if (count == 0) unlink(block.value);
  ++count;
}

void BlockPool::release(std::span<const BlockId> blocks) {
  for (auto block = blocks.rbegin(); block != blocks.rend(); ++block) {
    check_range(*block);
    int& count = ref_counts_[block->value];
    TUTTI_CHECK(count > 0) << "block " << block->value << " is free already";
    if (--count > 0) continue;
    if (is_kept_[block->value]) {
      push_recent(block->value);
    } else {
      free_.push_back(*block);
    }
  }
}

void BlockPool::keep(BlockId block) {
  TUTTI_CHECK(ref_count(block) > 0) << "block " << block.value << " is not used";
  is_kept_[block.value] = true;
}

void BlockPool::forget(BlockId block) {
  TUTTI_CHECK(ref_count(block) > 0) << "block " << block.value << " is not used";
  is_kept_[block.value] = false;
}

int BlockPool::ref_count(BlockId block) const {
  check_range(block);
  return ref_counts_[block.value];
}

bool BlockPool::is_kept(BlockId block) const {
  check_range(block);
  return is_kept_[block.value];
}

std::vector<BlockId> BlockPool::cached_blocks() const {
  std::vector<BlockId> blocks;
  for (std::int32_t i = links_.back().next; i != num_blocks(); i = links_[i].next) {
    blocks.emplace_back(i);
  }
  return blocks;
}

void BlockPool::check_range(BlockId block) const {
  TUTTI_CHECK(block.value >= 0 && block.value < num_blocks())
      << "block " << block.value << " of " << num_blocks();
}

void BlockPool::push_recent(std::int32_t index) {
  const std::int32_t head = num_blocks();
  const std::int32_t last = links_[head].previous;
  links_[index] = {last, head};
  links_[last].next = index;
  links_[head].previous = index;
  ++num_cached_;
}

void BlockPool::unlink(std::int32_t index) {
  const Links links = links_[index];
  links_[links.previous].next = links.next;
  links_[links.next].previous = links.previous;
  --num_cached_;
}

void BlockPool::check_invariants() const {
  enum class Place { kNone, kFree, kCached };
  std::vector<Place> places(ref_counts_.size(), Place::kNone);
  for (const BlockId block : free_) {
    TUTTI_CHECK(ref_count(block) == 0) << "block " << block.value << " is free and referenced";
    TUTTI_CHECK(!is_kept(block)) << "block " << block.value << " is free and kept";
    TUTTI_CHECK(places[block.value] == Place::kNone) << "block " << block.value << " is free twice";
    places[block.value] = Place::kFree;
  }
  const std::vector<BlockId> cached = cached_blocks();
  TUTTI_CHECK(static_cast<int>(cached.size()) == num_cached_)
      << cached.size() << " blocks are cached, not " << num_cached_;
  for (const BlockId block : cached) {
    TUTTI_CHECK(ref_count(block) == 0) << "block " << block.value << " is cached and referenced";
    TUTTI_CHECK(is_kept(block)) << "block " << block.value << " is cached and not kept";
    TUTTI_CHECK(places[block.value] == Place::kNone) << "block " << block.value << " is in two";
    places[block.value] = Place::kCached;
  }
  for (std::size_t i = 0; i < ref_counts_.size(); ++i) {
    TUTTI_CHECK(ref_counts_[i] >= 0) << "block " << i << " has " << ref_counts_[i] << " references";
    TUTTI_CHECK((places[i] == Place::kNone) == (ref_counts_[i] > 0)) << "block " << i << " is lost";
  }
}

}  // namespace tutti::cache
