#include "server/readiness.h"

#include <chrono>

#include "server/event_inbox.h"
#include "server/sequence_id.h"

namespace tutti::server {
namespace {

namespace asio = boost::asio;

constexpr auto kFreshToken = std::chrono::seconds(10);  // a token this young needs no probe
constexpr auto kProbeTimeout = std::chrono::seconds(5);
constexpr auto kProbeLifetime = std::chrono::seconds(3);

bool has_fresh_token(const store::LoadedModel& model, TimePoint now) {
  const TimePoint last = model.engine->stats().last_token_time;
  return last != TimePoint{} && now - last < kFreshToken;
}

SequenceRequest one_token(SequenceId id) {
  SequenceRequest request;
  request.id = id;
  request.prompt = {0};
  request.sampling.temperature = 0;
  request.sampling.max_tokens = 1;
  request.sampling.ignore_eos = true;
  return request;
}

}  // namespace

asio::awaitable<Status> Readiness::check() {
  const Status loaded = registry_.loading_status();
  if (!loaded.ok()) co_return loaded;
  const TimePoint now = SteadyClock::now();
  std::vector<ServedModel> idle;
  for (const ServedModel& served : registry_.all()) {
    const Status available = served.model->engine->availability();
    if (!available.ok()) co_return available.with_context(served.model->info.name);
    if (!has_fresh_token(*served.model, now)) idle.push_back(served);
  }
  if (idle.empty()) co_return Status();
  if (!probing_ && probed_ != TimePoint{} && now - probed_ < kProbeLifetime) co_return result_;
  if (probing_) {
    auto signal = std::make_shared<Signal>(io_);
    waiting_.push_back(signal);
    co_await signal->wait();
    co_return result_;
  }
  probing_ = true;
  result_ = co_await probe_all(std::move(idle));
  probing_ = false;
  probed_ = SteadyClock::now();
  for (const auto& signal : std::exchange(waiting_, {})) signal->notify();
  co_return result_;
}

asio::awaitable<Status> Readiness::probe_all(std::vector<ServedModel> models) {
  for (const ServedModel& served : models) {
    const Status status = co_await probe(*served.model);
    if (!status.ok()) {
      co_return status.with_context(served.model->info.name);
    }
  }
  co_return Status();
}

asio::awaitable<Status> Readiness::probe(const store::LoadedModel& model) {
  auto signal = std::make_shared<Signal>(io_);
  auto inbox = std::make_shared<EventInbox>([wakes = wakes_, signal] { wakes->push(signal); });
  const SequenceId id = next_sequence_id();
  EventSink sink(make_receiver(inbox, 0));
  const Status submitted = model.engine->submit(one_token(id), sink);
  const TimePoint deadline = SteadyClock::now() + kProbeTimeout;
  Status result = submitted;
  bool has_token = false;
  while (submitted.ok() && result.ok() && !has_token) {
    if (!co_await signal->wait_until(deadline)) {
      result = Status(ErrorKind::kUnavailable, "no token was generated within 5 seconds");
    }
    for (const InboxItem& item : inbox->take()) {
      has_token |= std::holds_alternative<TokenEvent>(item.event);
      const auto* failed = std::get_if<FailedEvent>(&item.event);
      if (failed && !has_token) result = failed->status;
    }
  }
  inbox->close();
  model.engine->cancel(id);
  co_return has_token ? Status() : result;
}

}  // namespace tutti::server
