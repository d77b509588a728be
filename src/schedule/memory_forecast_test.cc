#include "schedule/memory_forecast.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "cache/block_table.h"

namespace tutti::schedule {
namespace {

using Member = MemoryForecast::Member;

int peak_step_by_step(std::vector<Member> members) {
  int peak = 0;
  for (int step = 1; !members.empty(); ++step) {
    int num_blocks = 0;
    for (const Member& each : members) {
      num_blocks += cache::num_blocks_for(each.num_own_tokens + step - 1);
    }
    peak = std::max(peak, num_blocks);
    std::erase_if(members, [step](const Member& each) { return each.num_to_come <= step; });
  }
  return peak;
}

TEST(MemoryForecast, IsWhatAWalkThroughTheStepsFinds) {
  std::mt19937 random(1);
  const auto pick = [&](int low, int high) {
    return std::uniform_int_distribution(low, high)(random);
  };
  for (int round = 0; round < 200; ++round) {
    MemoryForecast forecast;
    std::vector<Member> members;
    for (int i = pick(0, 40); i > 0; --i) {
      members.push_back({pick(1, 500), pick(1, 300)});
      forecast.add(members.back());
    }
    EXPECT_EQ(forecast.peak_blocks(), peak_step_by_step(members));
    if (members.empty()) continue;
    forecast.remove(members.front());
    members.erase(members.begin());
    EXPECT_EQ(forecast.peak_blocks(), peak_step_by_step(members));
  }
}

TEST(MemoryForecast, IsNearForCrowds) {
  std::mt19937 random(2);
  MemoryForecast forecast;
  std::vector<Member> members;
  for (int i = 0; i < 256; ++i) {
    members.push_back(
        {static_cast<int>(random() % 1000) + 1, static_cast<int>(random() % 500) + 1});
    forecast.add(members.back());
  }
  EXPECT_NEAR(forecast.peak_blocks(), peak_step_by_step(members), 0.02 * forecast.peak_blocks());
}

}  // namespace
}  // namespace tutti::schedule
