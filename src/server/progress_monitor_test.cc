#include "server/progress_monitor.h"

#include <gtest/gtest.h>

namespace tutti::server {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr auto kInterval = milliseconds(500);

class ProgressMonitorTest : public ::testing::Test {
 protected:
  // Whether it was ever stalled within `time`, with one more token every `gap`.
  bool stalls(Duration time, Duration gap) {
    bool stalled = false;
    Duration since = {};
    for (Duration passed{}; passed < time; passed += kInterval) {
      now_ += kInterval;
      since += kInterval;
      if (since >= gap) {
        ++stats_.num_prompt_tokens;
        since = {};
      }
      monitor_.sample(stats_, now_);
      stalled |= monitor_.is_stalled(now_);
    }
    return stalled;
  }

  ProgressMonitor monitor_;
  engine::EngineStats stats_;
  TimePoint now_{seconds(1000)};
  static constexpr Duration kNever = seconds(1'000'000);
};

TEST_F(ProgressMonitorTest, AnIdleEngineIsNeverStalled) {
  EXPECT_FALSE(stalls(seconds(600), kNever));
  stats_.num_running = 1;
  EXPECT_FALSE(stalls(seconds(3), kNever)) << "work that has just come";
}

TEST_F(ProgressMonitorTest, WorkThatStandsStillIsSeenWithinFiveSeconds) {
  stats_.num_waiting = 3;
  EXPECT_FALSE(stalls(seconds(60), milliseconds(500)));
  EXPECT_TRUE(stalls(seconds(5), kNever));
  EXPECT_FALSE(stalls(milliseconds(500), milliseconds(500))) << "it moves again";
}

TEST_F(ProgressMonitorTest, SlowStepsAreNoStall) {
  stats_.num_running = 1;
  EXPECT_FALSE(stalls(seconds(60), milliseconds(3500)));
  EXPECT_FALSE(stalls(seconds(60), seconds(7))) << "twice what it was";
  EXPECT_TRUE(stalls(seconds(60), kNever));
}

TEST_F(ProgressMonitorTest, AnyKindOfTokenIsProgress) {
  stats_.num_running = 1;
  for (std::uint64_t* counter : {&stats_.num_generation_tokens, &stats_.num_recomputed_tokens}) {
    for (int i = 0; i < 20; ++i) {
      ++*counter;
      now_ += seconds(1);
      monitor_.sample(stats_, now_);
      EXPECT_FALSE(monitor_.is_stalled(now_));
    }
  }
}

}  // namespace
}  // namespace tutti::server
