#include "server/readiness.h"

#include <algorithm>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>

#include "server/event_inbox.h"
#include "server/sequence_id.h"

namespace tutti::server {
namespace {

namespace asio = boost::asio;

constexpr auto kFreshToken = std::chrono::seconds(10);  // a token this young needs no probe
constexpr auto kProbeTimeout = std::chrono::milliseconds(4500);
constexpr auto kWatchInterval = std::chrono::milliseconds(500);
constexpr auto kProbeLifetime = std::chrono::seconds(3);

bool has_work(const engine::EngineStats& stats) {
  return stats.num_running + stats.num_waiting > 0;
}

bool has_fresh_token(const engine::EngineStats& stats, TimePoint now) {
  return stats.last_token_time != TimePoint{} && now - stats.last_token_time < kFreshToken;
}

Status stalled() {
  return {ErrorKind::kUnavailable, "there is work, but nothing of it has been done for seconds"};
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
    const store::LoadedModel& model = *served.model;
    const Status available = model.engine->availability();
    if (!available.ok()) co_return available.with_context(model.info.name);
    if (is_stalled(model)) co_return stalled().with_context(model.info.name);
    const engine::EngineStats stats = model.engine->stats();
    // What works is ready, however long a probe would have to wait behind the work.
    if (!has_work(stats) && !has_fresh_token(stats, now)) idle.push_back(served);
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

asio::awaitable<void> Readiness::watch() {
  asio::steady_timer timer(io_);
  while (true) {
    timer.expires_after(kWatchInterval);
    boost::system::error_code code;
    co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, code));
    if (code) co_return;
    const TimePoint now = SteadyClock::now();
    for (const ServedModel& served : registry_.all()) {
      const engine::EngineChannel& engine = *served.model->engine;
      monitors_[served.model.get()].sample(has_work(engine.stats()), engine.progress(), now);
    }
  }
}

bool Readiness::is_stalled(const store::LoadedModel& model) const {
  const auto found = monitors_.find(&model);
  return found != monitors_.end() && found->second.is_stalled(SteadyClock::now());
}

bool Readiness::is_stalled() const {
  const auto models = registry_.all();
  return std::any_of(models.begin(), models.end(),
                     [this](const ServedModel& served) { return is_stalled(*served.model); });
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
  // A queue that is full was filled since: that is load.
  if (!submitted.ok() && submitted.kind() == ErrorKind::kOverloaded) co_return Status();
  Status result = submitted;
  bool has_token = false;
  while (submitted.ok() && result.ok() && !has_token) {
    if (!co_await signal->wait_until(deadline)) {
      if (is_stalled(model)) {
        result = stalled();
      } else {
        has_token = true;  // it waits behind work that has come since, which moves
      }
      break;
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
