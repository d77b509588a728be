// The front's end of the channel to an engine process, as a state machine: it keeps what is needed
// to resume every open sequence, decides when a process is started or killed, and ends each
// sequence exactly once. No threads, no clock, no system calls: bytes, deaths and times are handed
// in; bytes, commands and events come out.
//
// A life of the process: kDown → start → kLoading → hello → kRunning → death → kDown. Open
// sequences wait while there is no running process, and are submitted to the next one with the
// tokens that were already sent.
//
// Which sequence kills the process (a fault: a signal of its own making, an exit, a step that does
// not get on) is found by running the suspects, those of the step it died in, alone, one after the
// other, until each has made a token; all others wait meanwhile. One that has faulted twice, the
// second time alone, is ended with kInternal. Deaths that come from outside (SIGKILL, a frozen
// process) say nothing about the sequences, unless the same one makes no token in several lives
// running.
//
// Thread safety: one thread owns it.
#pragma once

#include <deque>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "base/clock.h"
#include "base/result.h"
#include "core/event.h"
#include "core/request.h"
#include "engine/channel/frames.h"
#include "engine/channel/step_record.h"
#include "engine/engine.h"

namespace tutti::engine {

struct FrontOptions {
  // A process none of whose threads has moved for that long is dead.
  Duration frozen_after = std::chrono::milliseconds(4300);
  // One that has work and of whose work no piece was done for that long hangs.
  Duration stuck_after = std::chrono::milliseconds(4300);
  // Between the deaths of lives in which nothing was achieved: the first start is immediate, then
  // it doubles from the first to the last.
  Duration first_back_off = std::chrono::milliseconds(100);
  Duration last_back_off = std::chrono::seconds(30);
};

// How a process ended, as the system tells.
struct ProcessEnd {
  bool by_signal = false;
  int code = 0;  // the signal's number, or the exit status
};

enum class ProcessCommand {
  kStart,      // a fresh process
  kInterrupt,  // let the step's thread write down where it is, if it can
  kKill,
};

// What the front knew about a process that died.
struct DeathReport {
  std::string reason;  // "signal 11 (Segmentation fault)", "no thread of it moved for 4.3 s" …
  std::uint64_t num_steps = 0;
  std::int64_t num_rows = 0;
  std::vector<SequenceId> sequences;  // of the step it died in; empty: between steps
  Duration back_off{};                // until the next start
};

struct FrontState {
  EngineStats stats;
  std::uint64_t progress = 0;  // as EngineChannel's
  Status availability;         // ok: a process is there to compute
  int num_open = 0;
  bool engine_has_queue = false;  // or does not run
  // Sequences may wait for the next process; else why not.
  Status accepts;
};

// Told before a sequence's terminal event is sent, so that who gets it sees the state it brought
// about, and after every input.
class FrontListener {
 public:
  virtual ~FrontListener() = default;
  virtual void state_changed(const FrontState& state) = 0;
  virtual void sequence_ends(SequenceId id) = 0;
};

class EngineFront {
 public:
  // `listener` must outlive the front.
  EngineFront(const FrontOptions& options, FrontListener& listener, TimePoint now);

  // The request was checked against limits(), its id is not open.
  void submit(SequenceRequest request, EventSink sink, TimePoint now);
  void cancel(SequenceId id, TimePoint now);
  // Ends all sequences with kCancelled and asks the process to end.
  void stop(TimePoint now);

  void on_bytes(std::string_view bytes, TimePoint now);
  // The process is gone and its last bytes were handed in. `last` is what its page says.
  void on_exit(const ProcessEnd& end, const StepSnapshot& last, TimePoint now);
  // A process that was to be started could not be.
  void on_start_failure(const Status& status, TimePoint now);
  void on_time(const StepSnapshot& snapshot, TimePoint now);
  // When on_time() is to be called next.
  TimePoint next_time(TimePoint now) const;

  // Bytes for the process, and what to do with it; each is given out once. A kStart is given out
  // only when there is no process.
  std::string take_output() { return std::exchange(output_, {}); }
  std::optional<ProcessCommand> take_command() { return std::exchange(command_, std::nullopt); }
  std::optional<DeathReport> take_death() { return std::exchange(death_, std::nullopt); }

  bool has_process() const { return phase_ != Phase::kDown; }
  double load_progress() const { return load_progress_; }
  // The first process's hello, or why there was none: not ok from then on, for good.
  const std::optional<HelloFrame>& hello() const { return hello_; }
  const Status& load_error() const { return load_error_; }
  const FrontState& state() const { return state_; }

 private:
  enum class Phase { kDown, kLoading, kRunning, kDying };
  using Order = std::uint64_t;  // of submission

  struct Open {
    SequenceRequest request;  // its `generated` grows with every token
    EventSink sink;
    TimePoint submitted_at;
    std::optional<TimePoint> first_token_at{};
    bool is_cancelled = false;
    bool is_submitted = false;    // to the process that lives
    bool is_parking = false;      // taken back from it, to wait for the others' trials
    bool has_progressed = false;  // a token in this life
    bool was_resumed = false;
    bool is_suspect = false;
    int num_faults = 0;  // deaths of the process's own making in a step of it
    int num_stalls = 0;  // deaths in a step of it running without a token between
  };

  void on_frame(Frame frame);
  void on_hello(HelloFrame hello);
  void on_load_failure(Status status);
  void on_token(TokenFrame frame);
  void on_finished(FinishedFrame frame);
  void on_failed(FailedFrame frame);

  bool is_valid(const TokenEvent& event, const Open& open) const;
  Open* find(SequenceId id);
  bool has_work() const;  // the process has sequences to compute
  // Sends what may run now: everybody, or the next suspect alone.
  void submit_waiting();
  void send(Open& open);
  // A suspect has made a token.
  void acquit(Order order, Open& open);
  void end_all(const Status& status);
  void fail(Order order, Status status);
  // Takes the sequence out and lets the listener know.
  Open remove(Order order);

  void start();
  void watch(const StepSnapshot& snapshot);
  // `is_fault`: the process's own making.
  void kill(std::string reason, bool is_fault, ProcessCommand command = ProcessCommand::kKill);
  void accuse(const std::vector<SequenceId>& suspects, bool is_fault);
  void part_from_sequences();
  void end_life();
  void expire_waiting();
  void update_state();

  const FrontOptions options_;
  FrontListener& listener_;
  TimePoint now_;  // of the last input
  Phase phase_ = Phase::kDown;
  bool stopping_ = false;
  std::map<Order, Open> open_;
  std::unordered_map<SequenceId, Order> orders_;
  Order next_order_ = 0;
  std::optional<Order> on_trial_;

  std::string output_;
  std::optional<ProcessCommand> command_;
  std::optional<DeathReport> death_;
  FrameReader reader_;
  std::optional<HelloFrame> hello_;
  Status load_error_;
  double load_progress_ = 0;

  // The life that is, or the next one.
  TimePoint start_at_;
  TimePoint started_at_;
  Duration load_duration_{};   // of the last process that said hello
  bool has_achieved_ = false;  // a token or an end in this life
  int num_idle_lives_ = 0;     // running, in which nothing was achieved
  std::string kill_reason_;
  bool kill_is_fault_ = false;
  TimePoint killed_at_;
  bool is_interrupted_ = false;
  bool is_deaf_ = false;  // its bytes make no sense any more

  // Watching.
  StepSnapshot watched_;
  TimePoint watched_at_, beat_at_, progress_at_;

  EngineStats stats_;         // of the process that lives or lived last
  EngineStats stats_before_;  // counters of those before
  FrontState state_;
};

}  // namespace tutti::engine
