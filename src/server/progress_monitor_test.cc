#include "server/progress_monitor.h"

#include <gtest/gtest.h>

namespace tutti::server {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr auto kInterval = milliseconds(500);

class ProgressMonitorTest : public ::testing::Test {
 protected:
  // Whether it was ever stalled within `time`, with one more piece of work done every `gap`.
  bool stalls(bool has_work, Duration time, Duration gap) {
    bool stalled = false;
    Duration since = {};
    for (Duration passed{}; passed < time; passed += kInterval) {
      now_ += kInterval;
      since += kInterval;
      if (since >= gap) {
        ++progress_;
        since = {};
      }
      monitor_.sample(has_work, progress_, now_);
      stalled |= monitor_.is_stalled(now_);
    }
    return stalled;
  }

  ProgressMonitor monitor_;
  std::uint64_t progress_ = 0;
  TimePoint now_{seconds(1000)};
  static constexpr Duration kNever = seconds(1'000'000);
};

TEST_F(ProgressMonitorTest, AnIdleEngineIsNeverStalled) {
  EXPECT_FALSE(stalls(false, seconds(600), kNever));
  EXPECT_FALSE(stalls(true, seconds(3), kNever)) << "work that has just come";
}

TEST_F(ProgressMonitorTest, WorkThatStandsStillIsSeenWithinFiveSeconds) {
  EXPECT_FALSE(stalls(true, seconds(60), milliseconds(500)));
  EXPECT_TRUE(stalls(true, seconds(5), kNever));
  EXPECT_FALSE(stalls(true, milliseconds(500), milliseconds(500))) << "it moves again";
}

// A step of any length has pieces; that one was slow lifts no limit.
TEST_F(ProgressMonitorTest, SlowPiecesAreNoStall) {
  EXPECT_FALSE(stalls(true, seconds(60), milliseconds(3500)));
  EXPECT_TRUE(stalls(true, seconds(5), kNever));
}

}  // namespace
}  // namespace tutti::server
