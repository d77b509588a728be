#include "cache/prefix_index.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"

namespace tutti::cache {
namespace {

constexpr BlockId kNone{-1};

// Children that a search for a partial match looks at, most recent first.
constexpr int kMaxCandidates = 32;

}  // namespace

PrefixIndex::PrefixIndex(int num_blocks, HashKey key) : key_(key), nodes_(num_blocks) {}

Hash128 PrefixIndex::root_hash(const std::string& salt) const {
  return sip_hash(key_, std::as_bytes(std::span(salt)));
}

Hash128 PrefixIndex::block_hash(const Hash128& parent, std::span<const TokenId> tokens) const {
  TUTTI_CHECK(tokens.size() == kBlockSize) << tokens.size() << " tokens in a block";
  std::array<std::byte, sizeof(Hash128) + kBlockSize * sizeof(TokenId)> bytes;
  std::memcpy(bytes.data(), &parent, sizeof(Hash128));
  std::memcpy(bytes.data() + sizeof(Hash128), tokens.data(), tokens.size_bytes());
  return sip_hash(key_, bytes);
}

PrefixMatch PrefixIndex::match(const PrefixTokens& prefix, int max_tokens) const {
  PrefixMatch match;
  BlockId parent = kNone;
  const int max_blocks = std::min(static_cast<int>(prefix.hashes.size()), max_tokens / kBlockSize);
  for (int i = 0; i < max_blocks; ++i) {
    const auto found = by_hash_.find(prefix.hashes[i]);
    if (found == by_hash_.end()) break;
    if (!is_block_of(node(found->second), prefix, i, parent)) break;
    parent = found->second;
    match.blocks.push_back(parent);
  }
  match_partially(prefix, max_tokens, match);
  return match;
}

void PrefixIndex::match_partially(const PrefixTokens& prefix, int max_tokens,
                                  PrefixMatch& match) const {
  const int begin = match.num_tokens();
  const auto end = static_cast<std::size_t>(std::max(0, max_tokens));
  const auto wanted = prefix.tokens.first(std::min(end, prefix.tokens.size())).subspan(begin);
  if (wanted.empty()) return;
  BlockId child = first_child(prefix, match.blocks.empty() ? kNone : match.blocks.back());
  for (int i = 0; i < kMaxCandidates && child != kNone; ++i) {
    const Node& candidate = node(child);
    const auto differs = std::mismatch(candidate.tokens.begin(), candidate.tokens.end(),
                                       wanted.begin(), wanted.end());
    const int num_common = static_cast<int>(differs.first - candidate.tokens.begin());
    if (num_common > match.num_partial && num_common < kBlockSize) {
      match.num_partial = num_common;
      match.partial_block = child;
    }
    child = candidate.next_sibling;
  }
}

std::optional<BlockId> PrefixIndex::insert(const PrefixTokens& prefix, int index,
                                           std::optional<BlockId> parent, BlockId block) {
  const BlockId under = parent.value_or(kNone);
  TUTTI_CHECK((index == 0) == (under == kNone)) << "block " << index << " of a prefix";
  TUTTI_CHECK(under == kNone || node(under).is_listed) << "parent " << under.value;
  TUTTI_CHECK(!node(block).is_listed) << "block " << block.value << " is listed already";
  const auto [found, is_new] = by_hash_.emplace(prefix.hashes[index], block);
  if (!is_new) {
    if (is_block_of(node(found->second), prefix, index, under)) return found->second;
    return std::nullopt;
  }
  Node& added = node(block);
  added.is_listed = true;
  added.hash = prefix.hashes[index];
  added.parent = under;
  added.root_hash = under == kNone ? root_hash(prefix.salt) : node(under).root_hash;
  added.parent_hash = under == kNone ? added.root_hash : node(under).hash;
  std::copy_n(prefix.tokens.begin() + static_cast<std::ptrdiff_t>(index) * kBlockSize, kBlockSize,
              added.tokens.begin());
  if (under == kNone) {
    const auto [root, is_new_root] = roots_.try_emplace(added.parent_hash, Root{prefix.salt});
    if (!is_new_root && root->second.salt != prefix.salt) {
      by_hash_.erase(found);
      added = Node{};
      return std::nullopt;
    }
  }
  BlockId& first = first_child_of(added);
  added.next_sibling = first;
  if (first != kNone) node(first).previous_sibling = block;
  first = block;
  return block;
}

void PrefixIndex::erase(BlockId block) {
  Node& erased = node(block);
  TUTTI_CHECK(erased.is_listed) << "block " << block.value << " is not listed";
  TUTTI_CHECK(erased.first_child == kNone) << "block " << block.value << " is a parent";
  BlockId& first = first_child_of(erased);
  if (first == block) {
    first = erased.next_sibling;
  } else {
    node(erased.previous_sibling).next_sibling = erased.next_sibling;
  }
  if (erased.next_sibling != kNone) {
    node(erased.next_sibling).previous_sibling = erased.previous_sibling;
  }
  if (erased.parent == kNone && first == kNone) roots_.erase(erased.parent_hash);
  by_hash_.erase(erased.hash);
  erased = Node{};
}

BlockKey PrefixIndex::key_of(BlockId block) const {
  const Node& listed = node(block);
  TUTTI_CHECK(listed.is_listed) << "block " << block.value << " is not listed";
  return {.hash = listed.hash,
          .parent = listed.parent_hash,
          .root = listed.root_hash,
          .tokens = listed.tokens};
}

BlockKey PrefixIndex::key_of(const PrefixTokens& prefix, int index) const {
  BlockKey key;
  key.root = root_hash(prefix.salt);
  key.hash = prefix.hashes[index];
  key.parent = index == 0 ? key.root : prefix.hashes[index - 1];
  std::copy_n(prefix.tokens.begin() + static_cast<std::ptrdiff_t>(index) * kBlockSize, kBlockSize,
              key.tokens.begin());
  return key;
}

bool PrefixIndex::is_block_of(const Node& node, const PrefixTokens& prefix, int index,
                              BlockId parent) const {
  if (node.parent != parent) return false;
  if (parent == kNone && roots_.at(node.parent_hash).salt != prefix.salt) return false;
  const auto tokens = prefix.tokens.subspan(static_cast<std::size_t>(index) * kBlockSize);
  return tokens.size() >= kBlockSize &&
         std::equal(node.tokens.begin(), node.tokens.end(), tokens.begin());
}

BlockId PrefixIndex::first_child(const PrefixTokens& prefix, BlockId parent) const {
  if (parent != kNone) return node(parent).first_child;
  const auto root = roots_.find(root_hash(prefix.salt));
  const bool is_there = root != roots_.end() && root->second.salt == prefix.salt;
  return is_there ? root->second.first_child : kNone;
}

BlockId& PrefixIndex::first_child_of(const Node& child) {
  return child.parent == kNone ? roots_.at(child.parent_hash).first_child
                               : node(child.parent).first_child;
}

void PrefixIndex::check_invariants() const {
  int num_listed = 0;
  for (std::size_t i = 0; i < nodes_.size(); ++i) {
    const Node& each = nodes_[i];
    if (!each.is_listed) continue;
    ++num_listed;
    const BlockId block(static_cast<std::int32_t>(i));
    TUTTI_CHECK(by_hash_.at(each.hash) == block) << "block " << i << " has another's hash";
    TUTTI_CHECK(each.parent == kNone || node(each.parent).is_listed)
        << "block " << i << " has lost its parent";
    if (each.next_sibling != kNone) {
      TUTTI_CHECK(node(each.next_sibling).previous_sibling == block) << "siblings of " << i;
    }
  }
  TUTTI_CHECK(num_listed == size()) << num_listed << " blocks are listed, not " << size();
}

}  // namespace tutti::cache
