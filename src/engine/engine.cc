#include "engine/engine.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <unordered_set>
#include <utility>

#include "base/cpu_limits.h"
#include "cache/block_table.h"
#include "device/ops.h"
#include "engine/step_loop.h"
#include "engine/submission_check.h"
#include "model/description.h"
#include "model/model.h"

namespace tutti::engine {
namespace {

Status out_of_range(const char* option, const std::string& bound, int value) {
  return invalid_argument(option, fmt::format("{} must be {}, and is {}", option, bound, value));
}

Status check_options(const EngineOptions& options, int max_positions) {
  if (options.max_model_len < 2 || options.max_model_len > max_positions) {
    return out_of_range("max_model_len", fmt::format("2 to the model's {}", max_positions),
                        options.max_model_len);
  }
  const int num_blocks_needed = cache::num_blocks_for(options.max_model_len);
  if (options.num_blocks < num_blocks_needed) {
    return out_of_range("num_blocks",
                        fmt::format("at least {}, for one sequence of max_model_len {}",
                                    num_blocks_needed, options.max_model_len),
                        options.num_blocks);
  }
  if (options.token_budget < 1) {
    return out_of_range("token_budget", "at least 1", options.token_budget);
  }
  if (options.max_running < 1)
    return out_of_range("max_running", "at least 1", options.max_running);
  if (options.max_waiting < 1)
    return out_of_range("max_waiting", "at least 1", options.max_waiting);
  if (options.spill && !options.use_prefix_cache) {
    return invalid_argument("kv_spill_dir", "a second tier needs the prefix cache");
  }
  if (options.target_itl.value_or(Duration::zero()) < Duration::zero()) {
    return invalid_argument("target_itl", "target_itl must not be negative");
  }
  return {};
}

// The engine's thread and what the front hands to it.
class EngineThread final : public EngineChannel {
 public:
  EngineThread(std::unique_ptr<StepLoop> loop, const EngineOptions& options, int vocab_size,
               StepObserver* observer)
      : options_(options),
        limits_{.max_model_len = options.max_model_len, .vocab_size = vocab_size},
        observer_(observer),
        loop_(std::move(loop)),
        stats_(loop_->stats()) {
    thread_ = std::thread([this] {
      name_this_thread("tutti-engine");
      run();
    });
  }

  ~EngineThread() override {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    has_news_.notify_one();
    thread_.join();
  }

  Status submit(SequenceRequest request, EventSink& sink) override {
    TUTTI_RETURN_IF_ERROR(check_submission(request, limits_, SteadyClock::now()));
    {
      const std::lock_guard lock(mutex_);
      if (stopping_) return Status(ErrorKind::kUnavailable, "the engine is stopping");
      const int num_open =
          stats_.num_running + stats_.num_waiting + static_cast<int>(submissions_.size());
      const int num_waiting =
          num_queued(num_open, stats_.num_running, stats_.num_waiting > 0, options_.max_running);
      if (num_waiting >= options_.max_waiting) return queue_is_full(num_waiting, stats_);
      if (!open_ids_.insert(request.id).second) {
        return invalid_argument("id", fmt::format("sequence {} is open already", request.id.value));
      }
      submissions_.push_back({std::move(request), std::move(sink), SteadyClock::now()});
    }
    has_news_.notify_one();
    return {};
  }

  void cancel(SequenceId id) override {
    {
      const std::lock_guard lock(mutex_);
      if (!open_ids_.contains(id)) return;
      cancellations_.push_back(id);
    }
    has_news_.notify_one();
  }

  EngineStats stats() const override {
    const std::lock_guard lock(mutex_);
    EngineStats stats = stats_;
    stats.num_waiting += static_cast<int>(submissions_.size());
    return stats;
  }

  std::uint64_t progress() const override { return loop_->progress(); }

  int max_model_len() const override { return options_.max_model_len; }

 private:
  struct News {
    std::vector<Submission> submissions;
    std::vector<SequenceId> cancellations;
  };

  void run() {
    while (std::optional<News> news = wait_for_news()) {
      for (Submission& submission : news->submissions) loop_->open(std::move(submission));
      for (const SequenceId id : news->cancellations) loop_->cancel(id);
      if (loop_->has_ended()) publish();
      loop_->step();
      publish();
    }
    for (Submission& submission : submissions_) loop_->open(std::move(submission));
    loop_->cancel_all();
    publish();
  }

  // Waits only while no sequence is open; nullopt when the engine is to stop, from when on the
  // inbox is the engine thread's alone.
  std::optional<News> wait_for_news() {
    std::unique_lock lock(mutex_);
    has_news_.wait(lock, [this] {
      return stopping_ || loop_->has_work() || !submissions_.empty() || !cancellations_.empty();
    });
    if (stopping_) return std::nullopt;
    stats_.num_waiting += static_cast<int>(submissions_.size());
    return News{std::exchange(submissions_, {}), std::exchange(cancellations_, {})};
  }

  // The state becomes visible before the ends are told: who learns that a sequence has ended sees
  // its blocks free.
  void publish() {
    std::vector<EndedSequence> ended = loop_->take_ended();
    {
      const std::lock_guard lock(mutex_);
      stats_ = loop_->stats();
      for (const EndedSequence& each : ended) open_ids_.erase(each.id);
    }
    for (EndedSequence& each : ended) std::move(each).send();
    if (observer_) observer_->published();
  }

  const EngineOptions options_;
  const EngineLimits limits_;
  StepObserver* const observer_;          // may be null
  const std::unique_ptr<StepLoop> loop_;  // the thread's

  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable has_news_;
  std::vector<Submission> submissions_;
  std::vector<SequenceId> cancellations_;
  std::unordered_set<SequenceId> open_ids_;
  EngineStats stats_;
  bool stopping_ = false;

  std::thread thread_;
};

}  // namespace

void RowsOfSteps::observe(int num_rows) {
  ++counts[std::lower_bound(kBounds.begin(), kBounds.end(), num_rows) - kBounds.begin()];
  sum += static_cast<std::uint64_t>(num_rows);
}

void RowsOfSteps::add(const RowsOfSteps& other) {
  for (std::size_t i = 0; i < counts.size(); ++i) counts[i] += other.counts[i];
  sum += other.sum;
}

double seconds_to_a_place(const EngineStats& stats) {
  // One a second until it is known: a client that comes back too soon is told again.
  const double rate = stats.ended_per_second > 0 ? stats.ended_per_second : 1;
  return std::min(to_seconds(stats.unavailable_for) + 1 / rate, 600.0);
}

Result<std::unique_ptr<EngineChannel>> start_engine(model::Model& model, device::Ops& ops,
                                                    const EngineOptions& options,
                                                    StepObserver* observer) {
  const model::ModelDescription& description = model.description();
  EngineOptions resolved = options;
  if (resolved.max_model_len == 0) resolved.max_model_len = description.max_positions;
  TUTTI_RETURN_IF_ERROR(check_options(resolved, description.max_positions));
  TUTTI_ASSIGN_OR_RETURN(auto cache, ops.make_kv_cache(model.kv_shape(), resolved.num_blocks));
  auto loop = std::make_unique<StepLoop>(model, ops, std::move(cache), resolved, observer);
  return std::unique_ptr<EngineChannel>(
      std::make_unique<EngineThread>(std::move(loop), resolved, description.vocab_size, observer));
}

}  // namespace tutti::engine
