#include "engine/channel/step_record.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace tutti::engine {
namespace {

static_assert(std::atomic<std::uint64_t>::is_always_lock_free);

Status system_error(const char* what) {
  return {ErrorKind::kInternal, fmt::format("{}: {}", what, std::strerror(errno))};
}

}  // namespace

void StepRecord::begin_step(std::span<const schedule::PlannedRows> rows) {
  if (step_thread_.load(std::memory_order_relaxed) == 0) step_thread_ = ::gettid();
  const auto count = static_cast<std::uint32_t>(std::min<std::size_t>(rows.size(), kMaxRecorded));
  std::int64_t num_rows = 0;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (i < count) sequences_[i].store(rows[i].id.value, std::memory_order_relaxed);
    num_rows += rows[i].num_rows;
  }
  num_sequences_.store(count, std::memory_order_relaxed);
  num_rows_.store(num_rows, std::memory_order_relaxed);
  in_step_.store(true, std::memory_order_release);
}

void StepRecord::end_step() {
  in_step_.store(false, std::memory_order_release);
  num_steps_.fetch_add(1, std::memory_order_release);
}

StepSnapshot StepRecord::read() const {
  StepSnapshot snapshot;
  snapshot.num_beats = num_beats_.load(std::memory_order_relaxed);
  snapshot.num_steps = num_steps_.load(std::memory_order_acquire);
  snapshot.progress = progress_.load(std::memory_order_relaxed);
  snapshot.in_step = in_step_.load(std::memory_order_acquire);
  snapshot.step_thread = step_thread_.load();
  if (snapshot.in_step) {
    snapshot.num_rows = num_rows_.load();
    visit_sequences([&](std::uint64_t id) { snapshot.sequences.emplace_back(id); });
  }
  return snapshot;
}

Result<SharedStepRecord> SharedStepRecord::create() {
  const int descriptor = ::memfd_create("tutti-step-record", MFD_CLOEXEC);
  if (descriptor < 0) return system_error("memfd_create");
  if (::ftruncate(descriptor, sizeof(StepRecord)) != 0) {
    const Status status = system_error("ftruncate");
    ::close(descriptor);
    return status;
  }
  return open(descriptor);
}

Result<SharedStepRecord> SharedStepRecord::open(int descriptor) {
  void* memory =
      ::mmap(nullptr, sizeof(StepRecord), PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
  if (memory == MAP_FAILED) {
    const Status status = system_error("mmap of the step record");
    ::close(descriptor);
    return status;
  }
  return SharedStepRecord(descriptor, static_cast<StepRecord*>(memory));
}

SharedStepRecord::SharedStepRecord(SharedStepRecord&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)),
      record_(std::exchange(other.record_, nullptr)) {}

SharedStepRecord& SharedStepRecord::operator=(SharedStepRecord&& other) noexcept {
  std::swap(descriptor_, other.descriptor_);
  std::swap(record_, other.record_);
  return *this;
}

SharedStepRecord::~SharedStepRecord() {
  if (record_) ::munmap(record_, sizeof(StepRecord));
  if (descriptor_ >= 0) ::close(descriptor_);
}

}  // namespace tutti::engine
