#include "core/event.h"

#include <gtest/gtest.h>

namespace tutti {
namespace {

struct Recorder : EventReceiver {
  void receive(Event event) override { events.push_back(std::move(event)); }
  std::vector<Event> events;
};

TEST(EventSink, SendsAnErrorWhenItIsDropped) {
  auto recorder = std::make_shared<Recorder>();
  {
    EventSink sink(recorder);
    sink.send({.token = 7});
    EventSink moved(std::move(sink));
  }
  ASSERT_EQ(recorder->events.size(), 2u);
  EXPECT_EQ(std::get<FailedEvent>(recorder->events[1]).status.kind(), ErrorKind::kInternal);
}

TEST(EventSink, EndsOnce) {
  auto recorder = std::make_shared<Recorder>();
  {
    EventSink sink(recorder);
    sink.finish({});
    EXPECT_TRUE(sink.ended());
    EXPECT_DEATH(sink.finish({}), "second terminal event");
  }
  EXPECT_EQ(recorder->events.size(), 1u);
}

TEST(EventSink, MoveAssignmentEndsTheOverwrittenOne) {
  auto first = std::make_shared<Recorder>();
  auto second = std::make_shared<Recorder>();
  {
    EventSink sink(first);
    sink = EventSink(second);
    EXPECT_EQ(first->events.size(), 1u);
    EXPECT_TRUE(second->events.empty());
  }
  EXPECT_EQ(second->events.size(), 1u);
}

}  // namespace
}  // namespace tutti
