// A bound on the sum of what many requests hold at once.
#pragma once

#include <atomic>
#include <cstddef>
#include <utility>

namespace tutti::server {

// Thread safety: every member may be called from any thread.
class MemoryBudget {
 public:
  explicit MemoryBudget(std::size_t limit) : limit_(limit) {}

  // All or nothing: false, and no change, when the sum would be over the limit.
  bool take(std::size_t bytes) {
    const std::size_t limit = limit_.load();
    std::size_t used = used_.load();
    do {
      if (bytes > limit || used > limit - bytes) return false;
    } while (!used_.compare_exchange_weak(used, used + bytes));
    return true;
  }
  // Whether that much could be taken now.
  bool has_room(std::size_t bytes) const {
    const std::size_t limit = limit_, used = used_;
    return bytes <= limit && used <= limit - bytes;
  }
  void give_back(std::size_t bytes) { used_ -= bytes; }

  // What is taken already stays, also over a smaller limit.
  void set_limit(std::size_t limit) { limit_ = limit; }
  std::size_t used() const { return used_; }

 private:
  std::atomic<std::size_t> limit_;
  std::atomic<std::size_t> used_{0};
};

// One request's share of a budget, given back by the destructor. The budget must outlive it.
// Thread safety: one thread at a time.
class MemoryShare {
 public:
  explicit MemoryShare(MemoryBudget& budget) : budget_(&budget) {}
  MemoryShare(MemoryShare&& other) noexcept
      : budget_(other.budget_), bytes_(std::exchange(other.bytes_, 0)) {}
  MemoryShare& operator=(MemoryShare&& other) noexcept {
    std::swap(budget_, other.budget_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~MemoryShare() { release(); }

  // At least `bytes` are held; false, and no change, when there is no room for them.
  bool grow_to(std::size_t bytes) {
    if (bytes <= bytes_) return true;
    if (!budget_->take(bytes - bytes_)) return false;
    bytes_ = bytes;
    return true;
  }
  void release() { budget_->give_back(std::exchange(bytes_, 0)); }

 private:
  MemoryBudget* budget_;
  std::size_t bytes_ = 0;
};

}  // namespace tutti::server
