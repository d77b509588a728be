#include "engine/channel/engine_server.h"

#include <utility>

#include "engine/channel/crash_report.h"

namespace tutti::engine {

class EngineServer::Receiver final : public EventReceiver {
 public:
  Receiver(EngineServer& server, SequenceId id) : server_(server), id_(id) {}
  void receive(Event event) override { server_.on_event(id_, std::move(event)); }

 private:
  EngineServer& server_;
  const SequenceId id_;
};

EngineServer::EngineServer(Write write, StepRecord* record)
    : write_(std::move(write)), record_(record) {}

void EngineServer::send_progress(double fraction) {
  append(ProgressFrame{fraction});
  flush();
}

void EngineServer::send_load_failure(const Status& status) {
  append(LoadFailedFrame{status});
  flush();
}

void EngineServer::start(EngineChannel& engine, const HelloFrame& hello) {
  engine_ = &engine;
  append(hello);
  append(StatsFrame{engine.stats()});
  flush();
}

Status EngineServer::receive(std::string_view bytes) {
  reader_.push(bytes);
  while (true) {
    TUTTI_ASSIGN_OR_RETURN(std::optional<Frame> frame, reader_.next());
    if (!frame) return {};
    TUTTI_RETURN_IF_ERROR(handle(*std::move(frame)));
  }
}

Status EngineServer::handle(Frame frame) {
  if (auto* submitted = std::get_if<SubmitFrame>(&frame)) {
    submit(std::move(submitted->request));
    return {};
  }
  if (const auto* cancelled = std::get_if<CancelFrame>(&frame)) {
    engine_->cancel(cancelled->id);
    return {};
  }
  if (std::holds_alternative<StopFrame>(frame)) {
    return {ErrorKind::kCancelled, "the front stops the engine"};
  }
  return corrupt("a frame that a front does not send");
}

void EngineServer::submit(SequenceRequest request) {
  const SequenceId id = request.id;
  FailedEvent refusal;
  refusal.usage.prompt_tokens = static_cast<int>(request.prompt.size());
  EventSink sink(std::make_shared<Receiver>(*this, id));
  refusal.status = engine_->submit(std::move(request), sink);
  if (refusal.status.ok()) return;
  sink.fail(std::move(refusal));
  flush();
}

// Statistics go before the first end, so that who learns of the end finds its blocks free.
void EngineServer::on_event(SequenceId id, Event event) {
  if (auto* token = std::get_if<TokenEvent>(&event)) {
    return append(TokenFrame{id, std::move(*token)});
  }
  bool wants_stats = false;
  {
    const std::lock_guard lock(mutex_);
    wants_stats = !std::exchange(stats_are_sent_, true);
  }
  if (wants_stats) append(StatsFrame{engine_->stats()});
  if (auto* finished = std::get_if<FinishedEvent>(&event)) {
    append(FinishedFrame{id, *finished});
  } else {
    append(FailedFrame{id, std::get<FailedEvent>(std::move(event))});
  }
}

void EngineServer::step_begins(std::span<const schedule::PlannedRows> rows) {
  thread_local const bool is_prepared = (prepare_thread_for_crashes(), true);
  static_cast<void>(is_prepared);
  if (record_) record_->begin_step(rows);
}

void EngineServer::step_ends() {
  if (record_) record_->end_step();
}

// After every step, so that a long prefill, which has no events, is seen to go on.
void EngineServer::published() {
  bool wants_stats = false;
  {
    const std::lock_guard lock(mutex_);
    wants_stats = !stats_are_sent_;
  }
  if (wants_stats) append(StatsFrame{engine_->stats()});
  flush();
}

void EngineServer::append(const Frame& frame) {
  const std::lock_guard lock(mutex_);
  append_frame(frame, pending_);
}

void EngineServer::flush() {
  const std::lock_guard write_lock(write_mutex_);
  std::string bytes;
  {
    const std::lock_guard lock(mutex_);
    bytes = std::exchange(pending_, {});
    stats_are_sent_ = false;
  }
  if (!bytes.empty()) write_(bytes);
}

}  // namespace tutti::engine
