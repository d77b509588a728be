// Where the engine's events of one request wait for the front.
//
// The engine's thread pushes and goes on; a wake is sent only when the inbox was empty, so that a
// reader who is behind is not woken for every token. What waits here is bounded by the request's
// max_tokens: token ids, and log-probabilities if they were asked for.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "base/clock.h"
#include "core/event.h"

namespace tutti::server {

struct InboxItem {
  int choice = 0;
  TimePoint arrived{};
  Event event;
};

// Thread safety: push from any thread; take and close from the reader's.
class EventInbox {
 public:
  // `wake` is called on the pushing thread and must return at once.
  explicit EventInbox(std::function<void()> wake) : wake_(std::move(wake)) {}

  void push(int choice, Event event);
  // All that has come since the last call, in order.
  std::vector<InboxItem> take();
  // Drops what comes from now on. `wake` is not called any more once this has returned.
  void close();

 private:
  std::mutex mutex_;
  std::function<void()> wake_;
  std::vector<InboxItem> items_;
  bool closed_ = false;
};

// The receiver of one choice's events.
std::shared_ptr<EventReceiver> make_receiver(std::shared_ptr<EventInbox> inbox, int choice);

}  // namespace tutti::server
