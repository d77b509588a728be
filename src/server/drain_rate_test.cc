#include "server/drain_rate.h"

#include <gtest/gtest.h>

namespace tutti::server {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

TEST(DrainRate, IsTheRateFromTheFirstSecondsOn) {
  const TimePoint begin{};
  DrainRate rate(begin);
  TimePoint now = begin;
  for (int i = 1; i <= 600; ++i) {  // 10 a second
    now = begin + milliseconds(100) * i;
    rate.count(now);
    if (i >= 50) {
      EXPECT_NEAR(rate.per_second(now), 10, 0.5) << i;
    }
  }
  EXPECT_LT(rate.per_second(now + seconds(120)), 0.3) << "a minute without ends is forgotten";
}

TEST(DrainRate, TellsHowLongAQueueTakes) {
  EXPECT_EQ(retry_after_seconds(0, 0), 1);
  EXPECT_EQ(retry_after_seconds(19, 4), 5);
  EXPECT_EQ(retry_after_seconds(20, 4), 6);
  EXPECT_EQ(retry_after_seconds(1, 1000), 1);
  EXPECT_EQ(retry_after_seconds(10000, 1), 60);
  EXPECT_EQ(retry_after_seconds(5, 0), 60) << "nothing moves";
}

}  // namespace
}  // namespace tutti::server
