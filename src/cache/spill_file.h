// The format of a spill file: blocks of the KV cache that outlive the engine.
//
// A header of 4096 bytes, then slots of one size: a head of 256 bytes, the block's bytes, and zeros
// up to a multiple of 4096. The header says what the blocks were computed with, and has the key of
// the hashes; a slot's head has the block's key and checksums over itself and the bytes. Integers
// are the machine's. Nothing in the file is trusted: lengths are those of the layout, and a slot
// whose checksums do not fit, because its write was cut off say, is free. The salt, which may
// hold a client's key, stands there only as its hash.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "cache/block_key.h"
#include "cache/sip_hash.h"
#include "cache/spill_storage.h"

namespace tutti::cache {

struct SpillLayout {
  // All that the bits of a block depend on but its tokens; at most kMaxIdentityBytes.
  std::string identity;
  std::size_t block_bytes = 0;  // >= 1
  std::size_t max_bytes = 0;    // that the file may have; at least one slot
};

// Thread safety: reads and writes of different slots may run at the same time.
class SpillFile {
 public:
  static constexpr std::size_t kMaxIdentityBytes = 3584;
  static constexpr std::size_t kHeaderBytes = 4096;
  static constexpr std::size_t kHeadBytes = 256;

  // What a slot of such blocks takes.
  static std::size_t slot_bytes(std::size_t block_bytes);

  // A storage that has another header than this layout's is emptied, and gets a new random key of
  // hashes. Slots beyond max_bytes are cut off.
  // Errors: those of the storage; kInvalidArgument for a layout out of bounds.
  static Result<SpillFile> open(std::unique_ptr<SpillStorage> storage, SpillLayout layout);

  // "is damaged", say, when open() found another header than this layout's; else empty.
  const std::string& why_emptied() const { return why_emptied_; }
  const HashKey& hash_key() const { return hash_key_; }
  int num_slots() const { return num_slots_; }
  std::size_t block_bytes() const { return layout_.block_bytes; }
  std::size_t slot_bytes() const { return slot_bytes(layout_.block_bytes); }

  struct Entry {
    int slot = 0;
    std::uint64_t stamp = 0;  // larger was written later
    BlockKey key;
  };
  // Slots whose heads are whole, the last written last; their bytes are not looked at. Errors:
  // those of the storage.
  Result<std::vector<Entry>> entries() const;

  // Writes a slot. `record` is [slot_bytes()] with the block's bytes from kHeadBytes on; the rest
  // of it is filled in.
  Status write(const Entry& entry, std::span<std::byte> record);

  // Reads a slot: `record` as above. Errors: kCorrupt when it does not hold the whole of that
  // block, or not any more; those of the storage.
  Status read(int slot, const BlockKey& key, std::span<std::byte> record) const;

 private:
  SpillFile(std::unique_ptr<SpillStorage> storage, SpillLayout layout);
  Status begin_anew();
  std::size_t offset_of(int slot) const;

  std::unique_ptr<SpillStorage> storage_;
  SpillLayout layout_;
  HashKey hash_key_;
  std::string why_emptied_;
  int num_slots_ = 0;
};

}  // namespace tutti::cache
