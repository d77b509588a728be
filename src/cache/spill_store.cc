#include "cache/spill_store.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/cpu_limits.h"
#include "base/log.h"

namespace tutti::cache {
namespace {

constexpr std::size_t kMaxBufferBytes = std::size_t{64} << 20;
constexpr std::size_t kMinBuffers = 2, kMaxBuffers = 16;

std::vector<SpillIndex::Entry> without_stamps(std::span<const SpillFile::Entry> entries) {
  std::vector<SpillIndex::Entry> listed;
  listed.reserve(entries.size());
  for (const SpillFile::Entry& each : entries) listed.push_back({each.slot, each.key});
  return listed;
}

}  // namespace

int SpillStore::num_buffers(std::size_t block_bytes) {
  return static_cast<int>(
      std::clamp(kMaxBufferBytes / SpillFile::slot_bytes(block_bytes), kMinBuffers, kMaxBuffers));
}

std::size_t SpillStore::buffer_bytes(std::size_t block_bytes) {
  return SpillFile::slot_bytes(block_bytes) *
         static_cast<std::size_t>(num_buffers(block_bytes) + 1);
}

Result<std::unique_ptr<SpillStore>> SpillStore::open(std::unique_ptr<SpillStorage> storage,
                                                     SpillLayout layout) {
  TUTTI_ASSIGN_OR_RETURN(SpillFile file, SpillFile::open(std::move(storage), std::move(layout)));
  TUTTI_ASSIGN_OR_RETURN(const auto entries, file.entries());
  if (!file.why_emptied().empty()) {
    log::info("the spilled blocks that were there are not used: their file {}", file.why_emptied());
  }
  return std::unique_ptr<SpillStore>(new SpillStore(std::move(file), entries));
}

SpillStore::SpillStore(SpillFile file, std::span<const SpillFile::Entry> entries)
    : file_(std::move(file)),
      index_(file_.num_slots(), without_stamps(entries)),
      next_stamp_(entries.empty() ? 1 : entries.back().stamp + 1),
      read_buffer_(file_.slot_bytes()),
      buffers_(num_buffers(file_.block_bytes()), std::vector<std::byte>(file_.slot_bytes())),
      jobs_(buffers_.size()),
      num_unwritten_(file_.num_slots(), 0) {
  for (std::size_t i = 0; i < buffers_.size(); ++i) free_buffers_.push_back(static_cast<int>(i));
  writer_ = std::thread([this] {
    name_this_thread("tutti-spill");
    write_jobs();
  });
  reader_ = std::thread([this] {
    name_this_thread("tutti-restore");
    read_blocks();
  });
}

SpillStore::~SpillStore() {
  jobs_.close();
  {
    const std::lock_guard lock(mutex_);
    is_stopping_ = true;
  }
  changed_.notify_all();
  writer_.join();
  reader_.join();
}

SpillCounters SpillStore::counters() const {
  const std::lock_guard lock(mutex_);
  return {.num_written = num_written_,
          .num_read = num_read_,
          .num_evicted = num_evicted_,
          .num_damaged = num_damaged_};
}

std::optional<int> SpillStore::take_buffer(Duration max_wait) {
  std::unique_lock lock(mutex_);
  const auto is_there = [this] { return !free_buffers_.empty(); };
  const TimePoint begin = SteadyClock::now();
  const Duration wait = std::max<Duration>(max_wait - waited_in_vain_, Duration::zero());
  if (!changed_.wait_for(lock, wait, is_there)) {
    waited_in_vain_ += SteadyClock::now() - begin;
    return std::nullopt;
  }
  waited_in_vain_ = {};
  const int buffer = free_buffers_.back();
  free_buffers_.pop_back();
  return buffer;
}

bool SpillStore::put(const BlockKey& key, Duration max_wait, const Fill& fill) {
  if (!is_on() || contains(key)) return false;
  const std::optional<int> buffer = take_buffer(max_wait);
  if (!buffer) return false;
  const auto place = index_.insert(key);
  if (!place) {
    const std::lock_guard lock(mutex_);
    free_buffers_.push_back(*buffer);
    return false;
  }
  if (place->was_evicted) ++num_evicted_;
  fill(std::span(buffers_[*buffer]).subspan(SpillFile::kHeadBytes, block_bytes()));
  {
    const std::lock_guard lock(mutex_);
    ++num_unwritten_[place->slot];
    ++num_jobs_;
  }
  Job job{{.slot = place->slot, .stamp = next_stamp_++, .key = key}, *buffer};
  TUTTI_CHECK(jobs_.try_push(job)) << "there are more jobs than buffers";
  return true;
}

void SpillStore::write_jobs() {
  while (std::optional<Job> job = jobs_.pop()) {
    Status status;
    if (is_on()) status = file_.write(job->entry, buffers_[job->buffer]);
    const bool is_written = is_on() && status.ok();
    if (!status.ok()) turn_off(status);
    {
      const std::lock_guard lock(mutex_);
      free_buffers_.push_back(job->buffer);
      --num_unwritten_[job->entry.slot];
      --num_jobs_;
      if (is_written) ++num_written_;
    }
    changed_.notify_all();
  }
}

void SpillStore::read_blocks() {
  std::unique_lock lock(mutex_);
  const auto is_asked = [this] { return read_ && !read_->result; };
  while (true) {
    changed_.wait(lock, [&] { return is_stopping_ || is_asked(); });
    if (is_stopping_) return;
    const Read asked = *read_;
    lock.unlock();
    const TimePoint begin = SteadyClock::now();
    Status status = file_.read(asked.slot, asked.key, read_buffer_);
    lock.lock();
    read_->result = std::move(status);
    read_->seconds = to_seconds(SteadyClock::now() - begin);
    changed_.notify_all();
  }
}

std::optional<SpillStore::Read> SpillStore::read(int slot, const BlockKey& key, Duration max_wait) {
  const TimePoint until = SteadyClock::now() + max_wait;
  std::unique_lock lock(mutex_);
  const bool is_another = read_ && (read_->slot != slot || read_->key != key);
  if (is_another) {
    if (!changed_.wait_until(lock, until, [this] { return read_->result.has_value(); })) return {};
    read_.reset();
  }
  if (!read_) {
    if (!changed_.wait_until(lock, until, [&] { return num_unwritten_[slot] == 0; })) return {};
    read_ = Read{.slot = slot, .key = key};
    changed_.notify_all();
  }
  if (!changed_.wait_until(lock, until, [this] { return read_->result.has_value(); })) return {};
  return std::exchange(read_, std::nullopt);
}

SpillStore::Found SpillStore::get(const BlockKey& key, Duration max_wait) {
  if (!is_on()) return {};
  const std::optional<int> slot = index_.find(key);
  if (!slot) return {};
  const std::optional<Read> done = read(*slot, key, max_wait);
  if (!is_on()) return {};
  if (!done) return {.is_pending = true};
  const Status& status = *done->result;
  if (status.ok()) {
    ++num_read_;
    return {
        .bytes =
            std::span<const std::byte>(read_buffer_).subspan(SpillFile::kHeadBytes, block_bytes()),
        .seconds = done->seconds};
  }
  if (status.kind() == ErrorKind::kCorrupt) {
    ++num_damaged_;
    index_.erase(*slot);
  } else {
    turn_off(status);
  }
  return {};
}

void SpillStore::touch(const BlockKey& key) {
  if (const std::optional<int> slot = index_.find(key)) index_.touch(*slot);
}

void SpillStore::flush() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return num_jobs_ == 0; });
}

void SpillStore::turn_off(const Status& status) {
  if (is_off_.exchange(true, std::memory_order_acq_rel)) return;
  log::warn("the prefix cache's second tier is turned off: {}", status.message());
}

}  // namespace tutti::cache
