#include "store/memory_plan.h"

#include <gtest/gtest.h>

#include <fstream>

#include "core/ids.h"
#include "tests/support/goldens.h"

namespace tutti::store {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMB = 1 << 20;

MemoryNeeds typical() {
  MemoryNeeds needs;
  needs.available = 4000 * kMB;
  needs.weights = 1000 * kMB;
  needs.scratch = 50 * kMB;
  needs.kv_block = kMB;  // 32 positions
  needs.model_context = 4096;
  needs.max_running = 256;
  return needs;
}

TEST(PlanMemory, TakesHalfOfWhatIsLeft) {
  const auto plan = plan_memory(typical());
  ASSERT_TRUE(plan.ok());
  EXPECT_EQ(plan->max_model_len, 4096);
  EXPECT_EQ(plan->num_blocks, (4000 - 1000 - 50 - 150) / 2);
}

TEST(PlanMemory, NeverTakesMoreThanItMayNorLessThanOneSequence) {
  for (int context : {512, 4096, 131072}) {
    for (std::size_t block : {std::size_t{4096}, kMB / 8, 4 * kMB}) {
      for (std::size_t available = 0; available < 5000; available += 250) {
        MemoryNeeds needs = typical();
        needs.model_context = context;
        needs.kv_block = block;
        needs.available = available * kMB;
        const auto plan = plan_memory(needs);
        if (!plan.ok()) continue;
        EXPECT_LE(plan->weights + plan->scratch + plan->kv_cache() + kMemoryReserve,
                  needs.available);
        EXPECT_GE(plan->num_blocks * kBlockSize, plan->max_model_len);
        EXPECT_LE(plan->max_model_len, context);
        EXPECT_GE(plan->max_model_len, 512);
      }
    }
  }
}

TEST(PlanMemory, ShrinksTheContextOnlyWhenNoneWasAskedFor) {
  MemoryNeeds needs = typical();
  needs.model_context = 1 << 20;
  const auto plan = plan_memory(needs);
  ASSERT_TRUE(plan.ok());
  EXPECT_LT(plan->max_model_len, 1 << 20);
  needs.max_model_len = 1 << 20;
  EXPECT_FALSE(plan_memory(needs).ok());
}

TEST(PlanMemory, SaysTheNumbersWhenItDoesNotFit) {
  MemoryNeeds needs = typical();
  needs.weights = 9000 * kMB;
  const auto plan = plan_memory(needs);
  ASSERT_FALSE(plan.ok());
  EXPECT_NE(plan.status().message().find("4.2 GB are available"), std::string::npos)
      << plan.status().message();
  EXPECT_NE(plan.status().message().find("weights take 9.4 GB"), std::string::npos);

  needs = typical();
  needs.kv_cache_bytes = 3000 * kMB;
  EXPECT_FALSE(plan_memory(needs).ok());
  needs.kv_cache_bytes = 200 * kMB;
  EXPECT_EQ(plan_memory(needs)->num_blocks, 200);
}

class AvailableMemory : public ::testing::Test {
 protected:
  void write(const std::string& path, const std::string& text) {
    fs::create_directories((root_ / path).parent_path());
    std::ofstream(root_ / path) << text;
  }
  fs::path root_ = testing::make_temp_dir();
};

TEST_F(AvailableMemory, RespectsTheLimitsOfNestedGroups) {
  write("proc/meminfo", "MemTotal: 9000 kB\nMemFree: 1000 kB\nMemAvailable:    8000 kB\n");
  EXPECT_EQ(available_memory(root_), 8000u << 10);
  write("proc/self/cgroup", "0::/a/b\n");
  write("sys/fs/cgroup/a/memory.max", "5000000\n");
  write("sys/fs/cgroup/a/memory.current", "2000000\n");
  write("sys/fs/cgroup/a/memory.stat", "anon 5\ninactive_file 500000\n");
  write("sys/fs/cgroup/a/b/memory.max", "max\n");
  write("sys/fs/cgroup/a/b/memory.current", "1000\n");
  EXPECT_EQ(available_memory(root_), 3500000u);
}

TEST_F(AvailableMemory, ReadsVersionOne) {
  write("proc/meminfo", "MemAvailable:    8000 kB\n");
  write("proc/self/cgroup", "3:cpu:/x\n5:memory:/docker/1\n");
  write("sys/fs/cgroup/memory/memory.limit_in_bytes", "1000000\n");
  write("sys/fs/cgroup/memory/memory.usage_in_bytes", "1500000\n");
  EXPECT_EQ(available_memory(root_), 0u);
}

}  // namespace
}  // namespace tutti::store
