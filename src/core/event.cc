#include "core/event.h"

namespace tutti {

EventSink& EventSink::operator=(EventSink&& other) noexcept {
  std::swap(receiver_, other.receiver_);
  return *this;
}

EventSink::~EventSink() {
  if (!ended()) fail({Status(ErrorKind::kInternal, "the sequence ended without a result"), {}});
}

void EventSink::send(TokenEvent event) {
  TUTTI_CHECK(!ended()) << "a token after the terminal event";
  receiver_->receive(std::move(event));
}

void EventSink::finish(FinishedEvent event) {
  TUTTI_CHECK(!ended()) << "a second terminal event";
  std::exchange(receiver_, nullptr)->receive(event);
}

void EventSink::fail(FailedEvent event) {
  TUTTI_CHECK(!ended()) << "a second terminal event";
  std::exchange(receiver_, nullptr)->receive(std::move(event));
}

}  // namespace tutti
