#include "engine/channel/engine_process.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <unordered_set>
#include <utility>

#include "base/cpu_limits.h"
#include "base/log.h"
#include "engine/channel/child_process.h"
#include "engine/channel/crash_files.h"
#include "engine/submission_check.h"

namespace tutti::engine {
namespace {

constexpr std::size_t kReadBytes = 256 << 10;
constexpr auto kStopGrace = std::chrono::milliseconds(2000);

class EngineProcess final : public EngineChannel, private FrontListener {
 public:
  explicit EngineProcess(EngineProcessOptions options)
      : options_(std::move(options)),
        wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
        crash_files_(options_.crash_dir),
        front_(options_.front, *this, SteadyClock::now()) {
    thread_ = std::thread([this] {
      name_this_thread("tutti-channel");
      run();
    });
  }

  ~EngineProcess() override {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    wake();
    thread_.join();
    ::close(wake_);
  }

  Result<HelloFrame> wait_until_ready(const LoadProgress& progress) {
    std::unique_lock lock(mutex_);
    double reported = -1;
    while (!hello_ && load_error_.ok()) {
      changed_.wait(lock);
      if (!progress || load_progress_ <= reported) continue;
      reported = load_progress_;
      lock.unlock();
      progress(reported);
      lock.lock();
    }
    if (!hello_) return load_error_;
    return *hello_;
  }

  Status submit(SequenceRequest request, EventSink& sink) override {
    {
      const std::lock_guard lock(mutex_);
      TUTTI_RETURN_IF_ERROR(check_submission(request, hello_->limits, SteadyClock::now()));
      if (stopping_) return Status(ErrorKind::kUnavailable, "the engine is stopping");
      TUTTI_RETURN_IF_ERROR(state_.accepts);
      const int num_waiting =
          num_queued(static_cast<int>(open_ids_.size()), state_.stats.num_running,
                     state_.engine_has_queue, options_.max_running);
      if (num_waiting >= options_.max_waiting) {
        return state_.availability.ok() ? queue_is_full(num_waiting, state_.stats)
                                        : state_.availability;
      }
      if (!open_ids_.insert(request.id).second) {
        return invalid_argument("id", fmt::format("sequence {} is open already", request.id.value));
      }
      submissions_.emplace_back(std::move(request), std::move(sink));
    }
    wake();
    return {};
  }

  void cancel(SequenceId id) override {
    {
      const std::lock_guard lock(mutex_);
      if (!open_ids_.contains(id)) return;
      cancellations_.push_back(id);
    }
    wake();
  }

  EngineStats stats() const override {
    const std::lock_guard lock(mutex_);
    EngineStats stats = state_.stats;
    stats.num_waiting += static_cast<int>(submissions_.size());
    return stats;
  }

  std::uint64_t progress() const override {
    const std::lock_guard lock(mutex_);
    return state_.progress;
  }

  Status availability() const override {
    const std::lock_guard lock(mutex_);
    return state_.availability;
  }

  int max_model_len() const override {
    const std::lock_guard lock(mutex_);
    return hello_->limits.max_model_len;
  }

 private:
  using Submissions = std::vector<std::pair<SequenceRequest, EventSink>>;

  void wake() const {
    const std::uint64_t one = 1;
    // Only a full counter can fail it, and then a wake is pending.
    [[maybe_unused]] const auto written = ::write(wake_, &one, sizeof one);
  }

  // FrontListener, on the channel's thread.
  void state_changed(const FrontState& state) override {
    const std::lock_guard lock(mutex_);
    state_ = state;
    if (!hello_ && front_.hello()) hello_ = front_.hello();
    load_error_ = front_.load_error();
    load_progress_ = front_.load_progress();
    changed_.notify_all();
  }
  void sequence_ends(SequenceId id) override {
    const std::lock_guard lock(mutex_);
    open_ids_.erase(id);
  }

  // The channel's thread.
  void run() {
    front_.on_time({}, SteadyClock::now());
    while (true) {
      obey();
      if (has_stopped()) break;
      wait();
      hand_in_news();
      if (child_) read_child();
      front_.on_time(record_ ? (*record_)->read() : StepSnapshot(), SteadyClock::now());
      if (auto death = front_.take_death()) report(*death);
    }
    child_.reset();
  }

  bool has_stopped() {
    if (!is_stopped_) return false;
    return !child_ || SteadyClock::now() - stopped_at_ > kStopGrace;
  }

  void obey() {
    const auto command = front_.take_command();
    if (!command) return write_child();
    if (*command == ProcessCommand::kStart) {
      start_child();
    } else if (child_ && *command == ProcessCommand::kKill) {
      child_->kill();
    } else if (child_) {
      child_->abort_thread((*record_)->read().step_thread);
    }
    write_child();
  }

  void start_child() {
    const bool is_first = !front_.hello().has_value();
    std::vector<std::string> arguments = is_first || !options_.restart_arguments
                                             ? options_.arguments
                                             : options_.restart_arguments(*front_.hello());
    crash_report_ = crash_files_.next();
    if (!crash_report_.empty()) {
      arguments.insert(arguments.end(), {"--crash-report", crash_report_.string()});
    }
    auto record = SharedStepRecord::create();
    if (!record.ok()) return front_.on_start_failure(record.status(), SteadyClock::now());
    record_.emplace(std::move(*record));
    auto child = ChildProcess::start(arguments, record_->descriptor());
    if (!child.ok()) return front_.on_start_failure(child.status(), SteadyClock::now());
    child_.emplace(std::move(*child));
    log::debug("{}: the engine is process {}", options_.name, child_->pid());
  }

  void wait() {
    const TimePoint now = SteadyClock::now();
    TimePoint until = front_.next_time(now);
    if (is_stopped_) until = std::min<TimePoint>(until, stopped_at_ + kStopGrace);
    const auto timeout = std::chrono::ceil<std::chrono::milliseconds>(until - now);
    pollfd files[2] = {{wake_, POLLIN, 0}, {-1, POLLIN, 0}};
    if (child_) files[1].fd = child_->socket();
    if (!output_.empty()) files[1].events |= POLLOUT;
    ::poll(files, 2, static_cast<int>(std::max<std::int64_t>(timeout.count(), 0)));
  }

  void hand_in_news() {
    std::uint64_t ignored = 0;
    [[maybe_unused]] const auto read = ::read(wake_, &ignored, sizeof ignored);
    Submissions submissions;
    std::vector<SequenceId> cancellations;
    bool stopping = false;
    {
      const std::lock_guard lock(mutex_);
      submissions = std::exchange(submissions_, {});
      cancellations = std::exchange(cancellations_, {});
      stopping = stopping_;
    }
    const TimePoint now = SteadyClock::now();
    for (auto& [request, sink] : submissions) {
      front_.submit(std::move(request), std::move(sink), now);
    }
    for (const SequenceId id : cancellations) front_.cancel(id, now);
    if (stopping && !std::exchange(is_stopped_, true)) {
      stopped_at_ = now;
      front_.stop(now);
    }
  }

  // All that is there; at the end of it the process is gone.
  void read_child() {
    char buffer[kReadBytes];
    while (true) {
      const ssize_t got = ::recv(child_->socket(), buffer, sizeof buffer, 0);
      if (got > 0) {
        front_.on_bytes({buffer, static_cast<std::size_t>(got)}, SteadyClock::now());
        if (static_cast<std::size_t>(got) < sizeof buffer) return;
      } else if (got < 0 && errno == EINTR) {
        continue;
      } else if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
        return;
      } else {
        return bury_child();
      }
    }
  }

  void bury_child() {
    last_pid_ = child_->pid();
    const ProcessEnd end = child_->reap();
    child_.reset();
    output_.clear();
    front_.on_exit(end, (*record_)->read(), SteadyClock::now());
  }

  void write_child() {
    output_ += front_.take_output();
    while (child_ && !output_.empty()) {
      const ssize_t sent = ::send(child_->socket(), output_.data(), output_.size(), MSG_NOSIGNAL);
      if (sent < 0 && errno == EINTR) continue;
      if (sent < 0) return;  // full, or gone, which reading tells
      output_.erase(0, static_cast<std::size_t>(sent));
    }
  }

  void report(const DeathReport& death) {
    const auto path = crash_files_.complete(crash_report_, options_.name, death);
    log::error("{}: the engine process {} died: {}; {} sequences were being computed{}{}",
               options_.name, last_pid_, death.reason, death.sequences.size(),
               path.empty() ? "" : "; report: ", path.string());
  }

  const EngineProcessOptions options_;
  const int wake_;

  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  Submissions submissions_;
  std::vector<SequenceId> cancellations_;
  std::unordered_set<SequenceId> open_ids_;
  FrontState state_;
  std::optional<HelloFrame> hello_;
  Status load_error_;
  double load_progress_ = 0;
  bool stopping_ = false;

  // The thread's own.
  CrashFiles crash_files_;
  EngineFront front_;
  std::optional<SharedStepRecord> record_;
  std::optional<ChildProcess> child_;
  std::filesystem::path crash_report_;
  pid_t last_pid_ = 0;
  std::string output_;
  bool is_stopped_ = false;
  TimePoint stopped_at_;

  std::thread thread_;
};

}  // namespace

Result<StartedProcess> start_engine_process(EngineProcessOptions options,
                                            const LoadProgress& progress) {
  auto process = std::make_unique<EngineProcess>(std::move(options));
  TUTTI_ASSIGN_OR_RETURN(HelloFrame hello, process->wait_until_ready(progress));
  return StartedProcess{std::move(process), std::move(hello)};
}

}  // namespace tutti::engine
