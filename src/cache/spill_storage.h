// Where the bytes of a spill file are: a file of the system, or memory that a test can damage.
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>

#include "base/result.h"

namespace tutti::cache {

// Thread safety: reads and writes of different bytes may run at the same time; the rest not.
class SpillStorage {
 public:
  virtual ~SpillStorage() = default;
  virtual Result<std::size_t> size() const = 0;
  // What is added is zero, or takes no room yet.
  virtual Status resize(std::size_t size) = 0;
  // All of `bytes`. Errors: kCorrupt where the storage ends before; kUnavailable for all else.
  virtual Status read(std::size_t offset, std::span<std::byte> bytes) const = 0;
  virtual Status write(std::size_t offset, std::span<const std::byte> bytes) = 0;
};

// A file that this process alone uses, made with its folder if it is missing, readable by its owner
// alone. It is never mapped, so whoever cuts it off harms nobody. From now on the process ignores
// SIGXFSZ.
// Errors: kUnavailable when another process has it, or the system refuses; kInvalidArgument when
// the folder or the file is another user's, or the folder is open to others' writing and not sticky
// as /tmp is.
Result<std::unique_ptr<SpillStorage>> open_spill_storage(const std::filesystem::path& path);

// The folder's file system keeps its files in memory (tmpfs, ramfs). Of a folder that is missing,
// that of the first parent that is there.
bool is_in_memory(const std::filesystem::path& folder);

}  // namespace tutti::cache
