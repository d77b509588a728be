// The bytes of a spill file in memory, where a test can look at them, damage them, and let
// operations fail.
#pragma once

#include <algorithm>
#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "cache/spill_storage.h"

namespace tutti::testing {

// What outlives the storage, as a file outlives the process. Thread safety: any thread.
struct SpillBytes {
  std::mutex mutex;
  std::vector<std::byte> bytes;
  // Called before each operation; an error it gives is the operation's.
  std::function<Status()> before_read, before_write;
};

class MemoryStorage final : public cache::SpillStorage {
 public:
  explicit MemoryStorage(std::shared_ptr<SpillBytes> bytes) : shared_(std::move(bytes)) {}

  Result<std::size_t> size() const override {
    const std::lock_guard lock(shared_->mutex);
    return shared_->bytes.size();
  }
  Status resize(std::size_t size) override {
    const std::lock_guard lock(shared_->mutex);
    shared_->bytes.resize(size);
    return {};
  }
  Status read(std::size_t offset, std::span<std::byte> bytes) const override {
    if (shared_->before_read) TUTTI_RETURN_IF_ERROR(shared_->before_read());
    const std::lock_guard lock(shared_->mutex);
    const std::vector<std::byte>& from = shared_->bytes;
    if (offset > from.size() || from.size() - offset < bytes.size()) return corrupt("ends early");
    std::copy_n(from.begin() + static_cast<std::ptrdiff_t>(offset), bytes.size(), bytes.begin());
    return {};
  }
  Status write(std::size_t offset, std::span<const std::byte> bytes) override {
    if (shared_->before_write) TUTTI_RETURN_IF_ERROR(shared_->before_write());
    const std::lock_guard lock(shared_->mutex);
    std::vector<std::byte>& to = shared_->bytes;
    to.resize(std::max(to.size(), offset + bytes.size()));
    std::copy(bytes.begin(), bytes.end(), to.begin() + static_cast<std::ptrdiff_t>(offset));
    return {};
  }

 private:
  const std::shared_ptr<SpillBytes> shared_;
};

}  // namespace tutti::testing
