// A wake for one coroutine of the I/O thread, and the queue that brings wakes there from others.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <memory>
#include <mutex>
#include <vector>

#include "base/clock.h"

namespace tutti::server {

// Level-triggered: a notify() before wait() is not lost. Any number of notifies are one wake.
// Thread safety: the I/O thread only. One waiter at a time.
class Signal {
 public:
  explicit Signal(boost::asio::io_context& io) : timer_(io) {}

  void notify();
  boost::asio::awaitable<void> wait();
  // False when `deadline` came first.
  boost::asio::awaitable<bool> wait_until(TimePoint deadline);

 private:
  boost::asio::steady_timer timer_;
  bool is_set_ = false;
};

// Wakes signals from other threads, with one post to the I/O thread for all that come while it has
// not run yet: a step of the engine that feeds a hundred streams costs one.
// Thread safety: push() from any thread.
class WakeQueue : public std::enable_shared_from_this<WakeQueue> {
 public:
  explicit WakeQueue(boost::asio::io_context& io) : io_(io) {}

  void push(std::shared_ptr<Signal> signal);
  // Nothing is posted any more; for the time when the I/O thread ends.
  void close();

 private:
  void drain();

  boost::asio::io_context& io_;
  std::mutex mutex_;
  std::vector<std::shared_ptr<Signal>> pending_;
  bool is_posted_ = false;
  bool closed_ = false;
};

}  // namespace tutti::server
