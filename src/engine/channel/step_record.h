// A page that an engine process and its front share, and that outlives the process: whether the
// process is alive, how its steps go, and what it was computing when it died.
#pragma once

#include <atomic>
#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"
#include "core/ids.h"
#include "schedule/step_plan.h"

namespace tutti::engine {

// What a front reads of a page.
struct StepSnapshot {
  std::uint64_t num_beats = 0;  // grows while any thread of the process runs
  std::uint64_t num_steps = 0;  // that have ended
  std::uint64_t progress = 0;   // of the engine's work, within steps too
  bool in_step = false;
  std::int32_t step_thread = 0;         // the system's id of the thread that runs steps; 0: unknown
  std::vector<SequenceId> sequences{};  // of the step, when in_step; at most kMaxRecorded
  std::int64_t num_rows = 0;            // of the step, when in_step
};

// The page's layout. All zero at first. The engine's process writes, from the thread named; what it
// holds is not trusted: a dying process may have scribbled over it.
class StepRecord {
 public:
  static constexpr std::uint32_t kMaxRecorded = 4096;

  // One thread; `progress` as EngineChannel's.
  void beat(std::uint64_t progress) {
    progress_.store(progress, std::memory_order_relaxed);
    num_beats_.fetch_add(1, std::memory_order_relaxed);
  }
  void begin_step(std::span<const schedule::PlannedRows> rows);  // the step thread
  void end_step();                                               // the step thread

  StepSnapshot read() const;  // the front

  // The two that a signal handler may call.
  bool in_step() const { return in_step_.load(); }
  template <typename Visit>
  void visit_sequences(Visit visit) const {
    const std::uint32_t count = std::min(num_sequences_.load(), kMaxRecorded);
    for (std::uint32_t i = 0; i < count; ++i) visit(sequences_[i].load());
  }
  std::uint64_t num_steps() const { return num_steps_.load(); }
  std::int64_t num_rows() const { return num_rows_.load(); }

 private:
  std::atomic<std::uint64_t> num_beats_;
  std::atomic<std::uint64_t> num_steps_;
  std::atomic<std::uint64_t> progress_;
  std::atomic<bool> in_step_;
  std::atomic<std::int64_t> num_rows_;
  std::atomic<std::int32_t> step_thread_;
  std::atomic<std::uint32_t> num_sequences_;
  std::atomic<std::uint64_t> sequences_[kMaxRecorded];
};

// Memory for one StepRecord that another process can map by its descriptor. Move-only.
class SharedStepRecord {
 public:
  // Errors: kInternal when the system gives no memory.
  static Result<SharedStepRecord> create();
  // Maps the one behind an inherited descriptor, which it takes over.
  static Result<SharedStepRecord> open(int descriptor);

  SharedStepRecord(SharedStepRecord&& other) noexcept;
  SharedStepRecord& operator=(SharedStepRecord&& other) noexcept;
  ~SharedStepRecord();

  StepRecord& operator*() const { return *record_; }
  StepRecord* operator->() const { return record_; }
  int descriptor() const { return descriptor_; }

 private:
  SharedStepRecord(int descriptor, StepRecord* record) : descriptor_(descriptor), record_(record) {}

  int descriptor_ = -1;
  StepRecord* record_ = nullptr;
};

}  // namespace tutti::engine
