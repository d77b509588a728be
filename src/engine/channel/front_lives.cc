// EngineFront: the lives of the process, and what is concluded from a death.
#include <fmt/format.h>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <utility>

#include "engine/channel/front.h"

namespace tutti::engine {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr auto kCheckInterval = milliseconds(200);       // while sequences are open
constexpr auto kIdleCheckInterval = milliseconds(1000);  // while none is
// on_time was not called for that long: the front itself stood still, and saw nothing.
constexpr auto kBlindInterval = milliseconds(2500);
constexpr auto kFirstBeatLimit = seconds(30);  // for the system to load the program
// What an interrupted process gets to write its report.
constexpr auto kInterruptGrace = milliseconds(500);
// Deaths from outside in which a sequence made no token, from when on it is a suspect.
constexpr int kStallsOfSuspect = 3;
constexpr int kStallsOfCulprit = 6;  // running, the last ones alone
constexpr int kFaultsOfCulprit = 2;
// Running lives without any achievement, from when on nobody may begin to wait for the next one,
// and after which those who wait are told.
constexpr int kIdleLivesBeforeRefusal = 3;
constexpr int kIdleLivesBeforeFailure = 6;

bool is_own_making(const ProcessEnd& end) {
  constexpr int kFromOutside[] = {SIGKILL, SIGTERM, SIGINT, SIGHUP};
  return !end.by_signal || std::find(std::begin(kFromOutside), std::end(kFromOutside), end.code) ==
                               std::end(kFromOutside);
}

std::string describe(const ProcessEnd& end) {
  if (!end.by_signal) return fmt::format("exit status {}", end.code);
  return fmt::format("signal {} ({})", end.code, ::strsignal(end.code));
}

void add_counters(const EngineStats& stats, EngineStats& sum) {
  sum.num_steps += stats.num_steps;
  sum.num_prompt_tokens += stats.num_prompt_tokens;
  sum.num_generation_tokens += stats.num_generation_tokens;
  sum.num_preemptions += stats.num_preemptions;
  sum.num_recomputed_tokens += stats.num_recomputed_tokens;
  sum.num_prefix_queries += stats.num_prefix_queries;
  sum.num_prefix_hits += stats.num_prefix_hits;
  sum.num_spill_reads += stats.num_spill_reads;
  sum.num_spill_writes += stats.num_spill_writes;
  sum.num_spill_bytes += stats.num_spill_bytes;
  sum.num_spill_evictions += stats.num_spill_evictions;
  sum.num_spill_damages += stats.num_spill_damages;
  sum.rows_of_steps.add(stats.rows_of_steps);
}

}  // namespace

void EngineFront::start() {
  phase_ = Phase::kLoading;
  command_ = ProcessCommand::kStart;
  started_at_ = watched_at_ = beat_at_ = progress_at_ = now_;
  watched_ = {};
  reader_ = {};
  is_deaf_ = false;
  has_achieved_ = false;
  kill_reason_.clear();
}

void EngineFront::on_start_failure(const Status& status, TimePoint now) {
  now_ = now;
  phase_ = Phase::kDown;
  if (!hello_) {
    load_error_ = status;
  } else {
    death_ = DeathReport{.reason = status.message()};
    end_life();
  }
  update_state();
}

void EngineFront::on_exit(const ProcessEnd& end, const StepSnapshot& last, TimePoint now) {
  now_ = now;
  const bool was_killed = phase_ == Phase::kDying;
  const bool is_fault = was_killed ? kill_is_fault_ : is_own_making(end);
  phase_ = Phase::kDown;
  command_.reset();
  output_.clear();
  on_trial_.reset();
  DeathReport report;
  report.reason = kill_reason_.empty() ? describe(end) : kill_reason_;
  report.num_steps = last.num_steps;
  if (last.in_step) {
    report.sequences = last.sequences;
    report.num_rows = last.num_rows;
  }
  if (!hello_) {
    if (load_error_.ok()) {
      load_error_ = Status(ErrorKind::kInternal,
                           fmt::format("the engine ended while it was loading: {}", report.reason));
    }
    end_all(load_error_);
  } else if (!stopping_) {
    death_ = std::move(report);
    accuse(last.in_step ? last.sequences : std::vector<SequenceId>(), is_fault);
    part_from_sequences();
    end_life();
  }
  update_state();
}

// Ids that are not of open sequences are scribbles of the dying process.
void EngineFront::accuse(const std::vector<SequenceId>& suspects, bool is_fault) {
  const bool is_alone = suspects.size() == 1;
  for (const SequenceId id : suspects) {
    Open* open = find(id);
    if (!open || !open->is_submitted) continue;
    if (is_fault) {
      ++open->num_faults;
    } else if (!open->has_progressed) {
      ++open->num_stalls;
    }
    const bool is_culprit =
        open->num_faults >= kFaultsOfCulprit || open->num_stalls >= kStallsOfCulprit;
    if (is_alone && is_culprit) {
      fail(orders_.at(id),
           Status(ErrorKind::kInternal,
                  fmt::format("the engine died {} times while it computed this sequence",
                              open->num_faults + open->num_stalls)));
      has_achieved_ = true;
    } else if (is_fault || open->num_stalls >= kStallsOfSuspect) {
      open->is_suspect = true;
    }
  }
}

void EngineFront::part_from_sequences() {
  std::vector<Order> cancelled;
  for (auto& [order, open] : open_) {
    open.was_resumed |= open.is_submitted;
    open.is_submitted = open.is_parking = open.has_progressed = false;
    if (open.is_cancelled) cancelled.push_back(order);
  }
  for (const Order order : cancelled) fail(order, Status(ErrorKind::kCancelled, "cancelled"));
}

void EngineFront::end_life() {
  add_counters(stats_, stats_before_);
  ++stats_before_.num_restarts;
  stats_ = {.num_blocks = stats_.num_blocks, .last_token_time = stats_.last_token_time};
  num_idle_lives_ = has_achieved_ ? 0 : num_idle_lives_ + 1;
  Duration back_off{};
  if (num_idle_lives_ > 1) {
    back_off = options_.first_back_off * (1 << std::min(num_idle_lives_ - 2, 20));
    back_off = std::min(back_off, options_.last_back_off);
  }
  start_at_ = now_ + back_off;
  if (death_) death_->back_off = back_off;
  if (num_idle_lives_ >= kIdleLivesBeforeFailure) {
    end_all(Status(ErrorKind::kUnavailable, "the engine cannot be restarted"));
  }
}

void EngineFront::on_time(const StepSnapshot& snapshot, TimePoint now) {
  now_ = now;
  if (phase_ == Phase::kDown) {
    expire_waiting();
    if (!stopping_ && load_error_.ok() && now >= start_at_) start();
  } else if (phase_ == Phase::kDying) {
    if (is_interrupted_ && now - killed_at_ >= kInterruptGrace) {
      is_interrupted_ = false;
      command_ = ProcessCommand::kKill;
    }
  } else {
    watch(snapshot);
  }
  update_state();
}

TimePoint EngineFront::next_time(TimePoint now) const {
  if (phase_ == Phase::kDown) return std::max(now, start_at_);
  return now + (open_.empty() ? kIdleCheckInterval : kCheckInterval);
}

void EngineFront::watch(const StepSnapshot& snapshot) {
  const bool was_blind = now_ - watched_at_ > kBlindInterval;
  if (was_blind || snapshot.num_beats != watched_.num_beats) beat_at_ = now_;
  const bool has_moved = snapshot.progress != watched_.progress ||
                         snapshot.num_steps != watched_.num_steps ||
                         snapshot.in_step != watched_.in_step;
  if (has_moved) ++state_.progress;
  if (was_blind || has_moved || !has_work()) progress_at_ = now_;
  watched_ = snapshot;
  watched_at_ = now_;
  const Duration beat_limit = snapshot.num_beats > 0
                                  ? options_.frozen_after
                                  : std::max<Duration>(options_.frozen_after, kFirstBeatLimit);
  if (now_ - beat_at_ > beat_limit) {
    kill(fmt::format("none of its threads moved for {:.1f} s", to_seconds(now_ - beat_at_)), false);
  } else if (phase_ == Phase::kRunning && now_ - progress_at_ > options_.stuck_after) {
    kill(fmt::format("its step did not get on for {:.1f} s", to_seconds(now_ - progress_at_)), true,
         ProcessCommand::kInterrupt);
  }
}

void EngineFront::kill(std::string reason, bool is_fault, ProcessCommand command) {
  if (phase_ == Phase::kDown || phase_ == Phase::kDying) return;
  phase_ = Phase::kDying;
  kill_reason_ = std::move(reason);
  kill_is_fault_ = is_fault;
  killed_at_ = now_;
  is_interrupted_ = command == ProcessCommand::kInterrupt;
  command_ = command;
}

void EngineFront::expire_waiting() {
  std::vector<Order> expired;
  for (const auto& [order, open] : open_) {
    if (open.request.deadline && *open.request.deadline <= now_) expired.push_back(order);
  }
  for (const Order order : expired) {
    fail(order, Status(ErrorKind::kDeadlineExceeded,
                       "the deadline passed while the engine was being restarted"));
  }
}

void EngineFront::update_state() {
  EngineStats stats = stats_before_;
  add_counters(stats_, stats);
  stats.num_blocks = stats_.num_blocks;
  stats.last_token_time = stats_.last_token_time;
  if (phase_ == Phase::kRunning) {
    stats.num_running = stats_.num_running;
    stats.num_used_blocks = stats_.num_used_blocks;
    stats.num_cached_blocks = stats_.num_cached_blocks;
    stats.num_spill_blocks = stats_.num_spill_blocks;
    stats.num_pending_prompt_tokens = stats_.num_pending_prompt_tokens;
    stats.prompt_tokens_per_second = stats_.prompt_tokens_per_second;
    stats.ended_per_second = stats_.ended_per_second;
  }
  state_.num_open = static_cast<int>(open_.size());
  state_.engine_has_queue = phase_ != Phase::kRunning || stats_.num_waiting > 0;
  stats.num_waiting = std::max(0, state_.num_open - stats.num_running);
  state_.availability = state_.accepts = {};
  if (stopping_) {
    state_.availability = Status(ErrorKind::kUnavailable, "the engine is stopping");
  } else if (!load_error_.ok()) {
    state_.availability = load_error_;
  } else if (phase_ != Phase::kRunning) {
    const Duration until_start = phase_ == Phase::kDown ? start_at_ - now_ : Duration{};
    stats.unavailable_for = std::max<Duration>(until_start, Duration{}) + load_duration_;
    state_.availability = Status(ErrorKind::kUnavailable, hello_ ? "the engine is being restarted"
                                                                 : "the engine is loading");
  }
  if (stopping_ || !load_error_.ok() || num_idle_lives_ >= kIdleLivesBeforeRefusal) {
    state_.accepts = state_.availability;
  }
  state_.stats = stats;
  listener_.state_changed(state_);
}

}  // namespace tutti::engine
