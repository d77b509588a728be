#include "engine/channel/front.h"

#include <algorithm>
#include <utility>

namespace tutti::engine {

EngineFront::EngineFront(const FrontOptions& options, FrontListener& listener, TimePoint now)
    : options_(options), listener_(listener), now_(now), start_at_(now) {
  state_.availability = Status(ErrorKind::kUnavailable, "the engine is loading");
}

void EngineFront::submit(SequenceRequest request, EventSink sink, TimePoint now) {
  now_ = now;
  const Order order = next_order_++;
  orders_.emplace(request.id, order);
  open_.emplace(order,
                Open{.request = std::move(request), .sink = std::move(sink), .submitted_at = now});
  if (stopping_) {
    fail(order, Status(ErrorKind::kCancelled, "the engine is stopping"));
  } else {
    submit_waiting();
  }
  update_state();
}

void EngineFront::cancel(SequenceId id, TimePoint now) {
  now_ = now;
  Open* open = find(id);
  if (!open) return;
  if (open->is_submitted && phase_ == Phase::kRunning) {
    if (!std::exchange(open->is_cancelled, true)) append_frame(CancelFrame{id}, output_);
  } else if (open->is_submitted) {
    open->is_cancelled = true;  // its end may be among the dying process's last bytes
  } else {
    fail(orders_.at(id), Status(ErrorKind::kCancelled, "cancelled"));
  }
  update_state();
}

void EngineFront::stop(TimePoint now) {
  now_ = now;
  if (std::exchange(stopping_, true)) return;
  if (phase_ == Phase::kRunning) append_frame(StopFrame{}, output_);
  if (phase_ == Phase::kLoading) command_ = ProcessCommand::kKill;
  is_deaf_ = true;  // what it still computes is nobody's
  end_all(Status(ErrorKind::kCancelled, "the engine is stopping"));
  update_state();
}

void EngineFront::on_bytes(std::string_view bytes, TimePoint now) {
  now_ = now;
  if (!is_deaf_) reader_.push(bytes);
  while (!is_deaf_) {
    auto frame = reader_.next();
    if (!frame.ok()) {
      kill("it sent " + frame.status().message(), true);
      is_deaf_ = true;
      break;
    }
    if (!frame->has_value()) break;
    on_frame(**std::move(frame));
  }
  update_state();
}

void EngineFront::on_frame(Frame frame) {
  if (auto* token = std::get_if<TokenFrame>(&frame)) return on_token(std::move(*token));
  if (auto* end = std::get_if<FinishedFrame>(&frame)) return on_finished(*end);
  if (auto* end = std::get_if<FailedFrame>(&frame)) return on_failed(std::move(*end));
  if (const auto* stats = std::get_if<StatsFrame>(&frame)) {
    stats_ = stats->stats;
    return;
  }
  if (auto* hello = std::get_if<HelloFrame>(&frame)) return on_hello(std::move(*hello));
  if (auto* failure = std::get_if<LoadFailedFrame>(&frame)) {
    return on_load_failure(std::move(failure->status));
  }
  if (const auto* progress = std::get_if<ProgressFrame>(&frame)) {
    if (progress->fraction > load_progress_) load_progress_ = std::min(progress->fraction, 1.0);
    return;
  }
  kill("it sent a frame that an engine does not send", true);
}

void EngineFront::on_hello(HelloFrame hello) {
  const bool is_possible = hello.limits.max_model_len >= 2 && hello.limits.vocab_size >= 1;
  const bool is_same = !hello_ || (hello.limits.max_model_len >= hello_->limits.max_model_len &&
                                   hello.limits.vocab_size == hello_->limits.vocab_size);
  if (phase_ == Phase::kDying) return;
  if (phase_ != Phase::kLoading || !is_possible || !is_same) {
    return kill("its hello is not that of the engine before it", false);
  }
  phase_ = Phase::kRunning;
  load_duration_ = now_ - started_at_;
  if (!hello_) hello_ = std::move(hello);
  submit_waiting();
}

void EngineFront::on_load_failure(Status status) {
  if (!hello_) {
    load_error_ = std::move(status);
  } else {
    kill_reason_ = "it could not be loaded: " + status.message();
  }
}

// The stream has no gap and no repetition: each token is the next one of its sequence.
bool EngineFront::is_valid(const TokenEvent& event, const Open& open) const {
  const auto is_known = [this](TokenId token) {
    return token >= 0 && token < hello_->limits.vocab_size;
  };
  return hello_ && open.is_submitted && is_known(event.token) &&
         event.index == static_cast<int>(open.request.generated.size()) &&
         std::all_of(event.top_logprobs.begin(), event.top_logprobs.end(),
                     [&](const TokenLogprob& top) { return is_known(top.token); });
}

void EngineFront::on_token(TokenFrame frame) {
  Open* open = find(frame.id);
  if (!open || !is_valid(frame.event, *open)) {
    return kill("it sent a token that nobody waits for", true);
  }
  has_achieved_ = true;
  open->has_progressed = true;
  open->num_stalls = 0;
  if (!open->first_token_at) open->first_token_at = now_;
  open->request.generated.push_back(frame.event.token);
  open->sink.send(std::move(frame.event));
  if (open->is_suspect) acquit(orders_.at(frame.id), *open);
}

void EngineFront::on_finished(FinishedFrame frame) {
  const Open* open = find(frame.id);
  if (!open || !open->is_submitted) return kill("it ended a sequence that is not open", true);
  has_achieved_ = true;
  Open ended = remove(orders_.at(frame.id));
  if (ended.was_resumed) {  // the process saw only the last part of it
    const TimePoint first_token = ended.first_token_at.value_or(now_);
    frame.event.timings = {
        .queued = {}, .prefill = first_token - ended.submitted_at, .decode = now_ - first_token};
  }
  ended.sink.finish(frame.event);
  submit_waiting();
}

void EngineFront::on_failed(FailedFrame frame) {
  Open* open = find(frame.id);
  if (!open || !open->is_submitted) return kill("it ended a sequence that is not open", true);
  const bool is_parked = std::exchange(open->is_parking, false) && !open->is_cancelled &&
                         frame.event.status.kind() == ErrorKind::kCancelled;
  if (is_parked) {
    open->is_submitted = false;
    open->was_resumed = true;
    if (on_trial_ == orders_.at(frame.id)) on_trial_.reset();
  } else {
    has_achieved_ = true;
    remove(orders_.at(frame.id)).sink.fail(std::move(frame.event));
  }
  submit_waiting();
}

EngineFront::Open* EngineFront::find(SequenceId id) {
  const auto found = orders_.find(id);
  return found == orders_.end() ? nullptr : &open_.at(found->second);
}

bool EngineFront::has_work() const {
  return std::any_of(open_.begin(), open_.end(),
                     [](const auto& each) { return each.second.is_submitted; });
}

void EngineFront::submit_waiting() {
  if (phase_ != Phase::kRunning || on_trial_) return;
  for (auto& [order, open] : open_) {
    if (!open.is_suspect) continue;
    on_trial_ = order;
    return send(open);
  }
  for (auto& [order, open] : open_) {
    if (!open.is_submitted) send(open);
  }
}

void EngineFront::send(Open& open) {
  if (!has_work()) progress_at_ = now_;
  open.is_submitted = true;
  append_frame(SubmitFrame{open.request}, output_);
}

void EngineFront::acquit(Order order, Open& open) {
  open.is_suspect = false;
  if (on_trial_ != order) return;
  const bool is_last = std::none_of(open_.begin(), open_.end(),
                                    [](const auto& each) { return each.second.is_suspect; });
  if (is_last) {
    on_trial_.reset();
    return submit_waiting();
  }
  open.is_parking = true;
  append_frame(CancelFrame{open.request.id}, output_);
}

void EngineFront::end_all(const Status& status) {
  while (!open_.empty()) fail(open_.begin()->first, status);
}

void EngineFront::fail(Order order, Status status) {
  Open open = remove(order);
  FailedEvent event;
  event.status = std::move(status);
  event.usage.prompt_tokens = static_cast<int>(open.request.prompt.size());
  event.usage.completion_tokens = static_cast<int>(open.request.generated.size());
  open.sink.fail(std::move(event));
}

EngineFront::Open EngineFront::remove(Order order) {
  auto node = open_.extract(order);
  Open open = std::move(node.mapped());
  orders_.erase(open.request.id);
  if (on_trial_ == order) on_trial_.reset();
  update_state();
  listener_.sequence_ends(open.request.id);
  return open;
}

}  // namespace tutti::engine
