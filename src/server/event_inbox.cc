#include "server/event_inbox.h"

namespace tutti::server {
namespace {

class ChoiceReceiver : public EventReceiver {
 public:
  ChoiceReceiver(std::shared_ptr<EventInbox> inbox, int choice)
      : inbox_(std::move(inbox)), choice_(choice) {}
  void receive(Event event) override { inbox_->push(choice_, std::move(event)); }

 private:
  std::shared_ptr<EventInbox> inbox_;
  int choice_;
};

}  // namespace

void EventInbox::push(int choice, Event event) {
  const TimePoint now = SteadyClock::now();
  const std::lock_guard lock(mutex_);
  if (closed_) return;
  const bool was_empty = items_.empty();
  items_.push_back({choice, now, std::move(event)});
  if (was_empty) wake_();
}

std::vector<InboxItem> EventInbox::take() {
  const std::lock_guard lock(mutex_);
  return std::exchange(items_, {});
}

void EventInbox::close() {
  const std::lock_guard lock(mutex_);
  closed_ = true;
  items_ = {};
  wake_ = {};
}

std::shared_ptr<EventReceiver> make_receiver(std::shared_ptr<EventInbox> inbox, int choice) {
  return std::make_shared<ChoiceReceiver>(std::move(inbox), choice);
}

}  // namespace tutti::server
