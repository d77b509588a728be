#include "server/signal.h"

#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace tutti::server {

namespace asio = boost::asio;

void Signal::notify() {
  is_set_ = true;
  timer_.cancel();
}

asio::awaitable<void> Signal::wait() { co_await wait_until(TimePoint::max()); }

asio::awaitable<bool> Signal::wait_until(TimePoint deadline) {
  while (!is_set_) {
    if (deadline != TimePoint::max() && SteadyClock::now() >= deadline) co_return false;
    timer_.expires_at(deadline);
    boost::system::error_code ignored;
    co_await timer_.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  }
  is_set_ = false;
  co_return true;
}

void WakeQueue::push(std::shared_ptr<Signal> signal) {
  const std::lock_guard lock(mutex_);
  if (closed_) return;
  pending_.push_back(std::move(signal));
  if (std::exchange(is_posted_, true)) return;
  asio::post(io_, [self = shared_from_this()] { self->drain(); });
}

void WakeQueue::drain() {
  std::vector<std::shared_ptr<Signal>> signals;
  {
    const std::lock_guard lock(mutex_);
    signals.swap(pending_);
    is_posted_ = false;
  }
  for (const auto& signal : signals) signal->notify();
}

void WakeQueue::close() {
  const std::lock_guard lock(mutex_);
  closed_ = true;
  pending_.clear();
}

}  // namespace tutti::server
