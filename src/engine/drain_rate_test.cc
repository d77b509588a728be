#include "engine/drain_rate.h"

#include <gtest/gtest.h>

namespace tutti::engine {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

TEST(DrainRate, FollowsTheEnds) {
  DrainRate rate;
  TimePoint now{};
  EXPECT_EQ(rate.per_second(now), 0);
  for (int i = 0; i < 20; ++i) rate.count(now += milliseconds(500));
  EXPECT_NEAR(rate.per_second(now), 2, 0.2);
  for (int i = 0; i < 2000; ++i) rate.count(now += milliseconds(100));
  EXPECT_NEAR(rate.per_second(now), 10, 0.1);
  EXPECT_LT(rate.per_second(now + seconds(30)), 4);
  EXPECT_GT(rate.per_second(now + seconds(30)), 3);
}

}  // namespace
}  // namespace tutti::engine
