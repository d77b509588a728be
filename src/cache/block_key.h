// What a full block of the KV cache stands for.
#pragma once

#include <array>

#include "cache/sip_hash.h"
#include "core/ids.h"

namespace tutti::cache {

// All of it is compared before a block is reused; the tokens before the block by their hash.
struct BlockKey {
  Hash128 hash;    // of parent and tokens
  Hash128 parent;  // the hash of the block before; the root's for the first of a prefix
  Hash128 root;    // the hash of the salt
  std::array<TokenId, kBlockSize> tokens{};

  friend bool operator==(const BlockKey&, const BlockKey&) = default;
};

}  // namespace tutti::cache
