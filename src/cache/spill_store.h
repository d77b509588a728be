// The second tier of the prefix cache: full blocks in a spill file, found by their keys.
//
// A block is copied into a buffer on the caller's thread, and a thread of the store writes it: the
// caller's memory is its own again at once. Another one reads, and the caller waits for it only as
// long as it wants. Whatever error the storage gives turns the tier off for good, with one warning;
// the engine goes on without.
//
// Thread safety: one thread owns it (the engine's).
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <thread>
#include <vector>

#include "base/bounded_queue.h"
#include "base/clock.h"
#include "base/result.h"
#include "cache/block_key.h"
#include "cache/spill_file.h"
#include "cache/spill_index.h"

namespace tutti::cache {

// Counters only grow.
struct SpillCounters {
  std::uint64_t num_written = 0;  // blocks
  std::uint64_t num_read = 0;
  std::uint64_t num_evicted = 0;  // gave their slots to others
  std::uint64_t num_damaged = 0;  // had other checksums than they should
};

class SpillStore {
 public:
  // Errors: those of SpillFile::open.
  static Result<std::unique_ptr<SpillStore>> open(std::unique_ptr<SpillStorage> storage,
                                                  SpillLayout layout);
  // Writes what was put.
  ~SpillStore();

  // Blocks that wait in memory to be written, and the bytes that they and one that is read take.
  static int num_buffers(std::size_t block_bytes);
  static std::size_t buffer_bytes(std::size_t block_bytes);

  const HashKey& hash_key() const { return file_.hash_key(); }
  int num_slots() const { return index_.num_slots(); }
  int num_blocks() const { return is_on() ? index_.size() : 0; }
  std::size_t block_bytes() const { return file_.block_bytes(); }
  SpillCounters counters() const;

  bool is_on() const { return !is_off_.load(std::memory_order_acquire); }
  bool contains(const BlockKey& key) const { return is_on() && index_.find(key).has_value(); }

  // Takes a block in that it does not contain: `fill` writes its bytes [block_bytes()]. Waits for a
  // buffer for at most `max_wait`, less what was waited in vain since there was one last. False
  // when there is none, or the tier is off.
  using Fill = std::function<void(std::span<std::byte> bytes)>;
  bool put(const BlockKey& key, Duration max_wait, const Fill& fill);

  struct Found {
    // They stay until the next call. Empty when there is no such block, or it was damaged and is
    // forgotten now.
    std::span<const std::byte> bytes{};
    double seconds = 0;       // that reading them took
    bool is_pending = false;  // it is being read: ask again
  };
  // The bytes of a block, waiting for at most `max_wait`. One block is read at a time: one that is
  // asked for in place of another is read after it.
  Found get(const BlockKey& key, Duration max_wait);

  // The block and all before it are used now.
  void touch(const BlockKey& key);

  // Waits until all that was put is written.
  void flush();

  void check_invariants() const { index_.check_invariants(); }

 private:
  struct Job {
    SpillFile::Entry entry;
    int buffer = 0;
  };

  // What the reading thread has been asked for, from then until its answer is taken.
  struct Read {
    int slot = 0;
    BlockKey key;
    std::optional<Status> result{};  // not before it is done
    double seconds = 0;              // that it took
  };

  SpillStore(SpillFile file, std::span<const SpillFile::Entry> entries);
  std::optional<int> take_buffer(Duration max_wait);
  // With its result; nullopt when that is not there in time.
  std::optional<Read> read(int slot, const BlockKey& key, Duration max_wait);
  void write_jobs();
  void read_blocks();
  void turn_off(const Status& status);

  SpillFile file_;
  SpillIndex index_;
  std::uint64_t next_stamp_ = 0;
  std::uint64_t num_read_ = 0, num_evicted_ = 0, num_damaged_ = 0;
  std::vector<std::byte> read_buffer_;  // the reading thread's while a read is not done
  Duration waited_in_vain_{};           // for a buffer, since there was one
  std::vector<std::vector<std::byte>> buffers_;
  BoundedQueue<Job> jobs_;

  std::atomic<bool> is_off_ = false;
  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  std::vector<int> free_buffers_;
  std::vector<int> num_unwritten_;  // jobs of each slot
  int num_jobs_ = 0;
  std::uint64_t num_written_ = 0;
  std::optional<Read> read_;
  bool is_stopping_ = false;

  std::thread writer_, reader_;
};

}  // namespace tutti::cache
