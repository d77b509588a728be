// Which blocks hold the keys and values of which tokens: a tree of full blocks, found by hash.
//
// A block's hash is of its tokens and of its parent's hash; at the root stands the hash of a salt,
// so prefixes of different salts never meet. A hash only finds a candidate: salt, parent and all
// tokens are compared before a block is handed out, so a collision costs a miss and nothing else.
//
// Thread safety: owned by the engine's thread.
// Invariants: a block is listed once, under its hash; its parent is listed too. check_invariants()
//   verifies it.
#pragma once

#include <array>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "cache/block_key.h"
#include "cache/sip_hash.h"
#include "core/ids.h"

namespace tutti::cache {

// The tokens of one salt and their chain of hashes: hashes[i] is of block i, whole blocks only.
struct PrefixTokens {
  const std::string& salt;
  std::span<const Hash128> hashes;
  std::span<const TokenId> tokens;
};

// What a prefix finds.
struct PrefixMatch {
  std::vector<BlockId> blocks;  // full, from position 0 on
  // A block whose first num_partial positions go on where `blocks` ends.
  std::optional<BlockId> partial_block;
  int num_partial = 0;  // 1 .. kBlockSize - 1 with a partial_block, else 0

  int num_tokens() const { return static_cast<int>(blocks.size()) * kBlockSize + num_partial; }
};

class PrefixIndex {
 public:
  PrefixIndex(int num_blocks, HashKey key);

  Hash128 root_hash(const std::string& salt) const;
  // `tokens`: kBlockSize of them.
  Hash128 block_hash(const Hash128& parent, std::span<const TokenId> tokens) const;

  // The longest listed prefix of the first `max_tokens` tokens.
  PrefixMatch match(const PrefixTokens& prefix, int max_tokens) const;

  // Lists `block` as block `index` of the prefix, whose blocks before are listed, the last of them
  // as `parent` (none for index 0). Gives the block that stands for these tokens: `block`, or the
  // one that did before; nullopt when another prefix has the hash.
  std::optional<BlockId> insert(const PrefixTokens& prefix, int index,
                                std::optional<BlockId> parent, BlockId block);

  // `block` is listed and nobody's parent.
  void erase(BlockId block);

  bool contains(BlockId block) const { return nodes_[block.value].is_listed; }
  // Of a listed block.
  BlockKey key_of(BlockId block) const;
  // Of block `index` of the prefix, listed or not.
  BlockKey key_of(const PrefixTokens& prefix, int index) const;
  int size() const { return static_cast<int>(by_hash_.size()); }

  void check_invariants() const;

 private:
  struct Node {
    bool is_listed = false;
    Hash128 hash;
    Hash128 parent_hash;  // the root's for the first of a prefix
    Hash128 root_hash;
    BlockId parent{-1};  // -1: none
    BlockId first_child{-1}, next_sibling{-1}, previous_sibling{-1};
    std::array<TokenId, kBlockSize> tokens{};
  };
  struct Root {
    std::string salt;
    BlockId first_child{-1};
  };

  Node& node(BlockId block) { return nodes_[block.value]; }
  const Node& node(BlockId block) const { return nodes_[block.value]; }
  bool is_block_of(const Node& node, const PrefixTokens& prefix, int index, BlockId parent) const;
  BlockId first_child(const PrefixTokens& prefix, BlockId parent) const;
  BlockId& first_child_of(const Node& node);
  void match_partially(const PrefixTokens& prefix, int max_tokens, PrefixMatch& match) const;

  const HashKey key_;
  std::vector<Node> nodes_;  // by block
  std::unordered_map<Hash128, BlockId> by_hash_;
  std::unordered_map<Hash128, Root> roots_;
};

}  // namespace tutti::cache
