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
  needs.available = {4000 * kMB, "free memory"};
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
        needs.available.bytes = available * kMB;
        const auto plan = plan_memory(needs);
        if (!plan.ok()) continue;
        EXPECT_LE(plan->weights + plan->scratch + plan->kv_cache() + kMemoryReserve,
                  needs.available.bytes);
        EXPECT_LE(plan->total(), plan->limit());
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

TEST(PlanMemory, AFractionIsAllThatMayBeTakenAndIsTaken) {
  MemoryNeeds needs = typical();
  needs.max_running = 2000;
  needs.promised = 100 * kMB;
  for (const double fraction : {0.5, 0.9, 1.0}) {
    needs.fraction = fraction;
    const auto plan = plan_memory(needs);
    ASSERT_TRUE(plan.ok()) << plan.status().message();
    EXPECT_LE(plan->total(), plan->limit());
    EXPECT_GT(plan->total() + kMB, plan->limit());
    EXPECT_NEAR(static_cast<double>(plan->limit()), fraction * 4000 * kMB, 1);
  }
  needs.fraction = 0.2;
  const auto refused = plan_memory(needs);
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.status().message().find("--memory-fraction allows"), std::string::npos);
}

// The number after the first `words` in `text` that `end` follows; 0 when there is none.
std::size_t number_after(const std::string& text, const std::string& words,
                         const std::string& end = "") {
  for (std::size_t at = text.find(words); at != std::string::npos; at = text.find(words, at + 1)) {
    char* behind = nullptr;
    const std::size_t number = std::strtoull(text.c_str() + at + words.size(), &behind, 10);
    if (number > 0 && std::string_view(behind).substr(0, end.size()) == end) return number;
  }
  return 0;
}

// Whatever was asked for: it fits, or the setting that is named does.
TEST(PlanMemory, TheSettingThatARefusalNamesFits) {
  int num_refusals = 0;
  for (const std::size_t available : {0, 800, 1199, 1210, 1217, 1300, 2000, 6000}) {
    for (const int length : {0, 100, 511, 512, 4096, 1 << 17}) {
      for (const std::size_t cache : {0, 1, 3, 20, 100, 5000}) {
        for (const double fraction : {0.0, 0.8}) {
          MemoryNeeds needs = typical();
          needs.available.bytes = available * kMB;
          needs.scratch_block = kMB / 16;
          needs.model_context = 1 << 17;
          needs.max_model_len = length;
          needs.kv_cache_bytes = cache * kMB;
          needs.fraction = fraction;
          auto plan = plan_memory(needs);
          if (!plan.ok()) {
            ++num_refusals;
            const std::string text = plan.status().message();
            const std::size_t new_cache = number_after(text, "--kv-cache-size ");
            const std::size_t new_length = number_after(text, "--max-model-len ");
            ASSERT_TRUE(new_cache > 0 || new_length > 0) << text;
            if (new_cache > 0) needs.kv_cache_bytes = new_cache;
            if (new_length > 0) needs.max_model_len = static_cast<int>(new_length);
            const std::size_t share = text.find("--memory-fraction 0.");
            if (share != std::string::npos) needs.fraction = std::stod(text.substr(share + 18));
            if (text.find("--memory-fraction 1 ") != std::string::npos) needs.fraction = 1;
            if (text.find("It takes ") != std::string::npos) {  // so much memory, as it says
              needs.available.bytes = number_after(text, " (", " bytes)");
              if (fraction > 0) needs.available.bytes = needs.available.bytes * 5 / 4 + 2;
            }
            plan = plan_memory(needs);
          }
          ASSERT_TRUE(plan.ok()) << plan.status().message();
          EXPECT_LE(plan->total(), plan->limit());
          EXPECT_GE(plan->scratch,
                    needs.scratch + needs.scratch_block *
                                        static_cast<std::size_t>(plan->max_model_len / kBlockSize));
        }
      }
    }
  }
  EXPECT_GT(num_refusals, 100);
}

TEST(PlanMemory, IsShownAsATableAndAsJson) {
  MemoryNeeds needs = typical();
  needs.fraction = 0.5;
  const auto plan = plan_memory(needs);
  const std::string table = plan_table("demo", *plan);
  for (const char* text :
       {"demo", "weights", "1.0 GB", "KV cache", "scratch", "0.5 of free memory"}) {
    EXPECT_NE(table.find(text), std::string::npos) << text << " in " << table;
  }
  const auto object = plan_json("demo", *plan);
  EXPECT_EQ(object.at("weights"), 1000 * kMB);
  EXPECT_EQ(object.at("total").to_number<std::size_t>(), plan->total());
  EXPECT_EQ(object.at("kv_cache").to_number<std::size_t>(),
            object.at("num_blocks").to_number<std::size_t>() *
                object.at("block_bytes").to_number<std::size_t>());
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
  EXPECT_EQ(available_memory(0, root_).bytes, 8000u << 10);
  write("proc/self/cgroup", "0::/a/b\n");
  write("sys/fs/cgroup/a/memory.max", "5000000\n");
  write("sys/fs/cgroup/a/memory.current", "2000000\n");
  write("sys/fs/cgroup/a/memory.stat", "anon 5\ninactive_file 500000\n");
  write("sys/fs/cgroup/a/b/memory.max", "max\n");
  write("sys/fs/cgroup/a/b/memory.current", "1000\n");
  EXPECT_EQ(available_memory(0, root_).bytes, 3500000u);
  EXPECT_EQ(available_memory(0, root_).source, "the cgroup's limit");
  EXPECT_EQ(available_memory(3000000, root_).bytes, 3000000u);
  EXPECT_EQ(available_memory(3000000, root_).source, "--memory-limit");
  EXPECT_EQ(available_memory(4000000, root_).bytes, 3500000u);
}

TEST_F(AvailableMemory, ReadsVersionOne) {
  write("proc/meminfo", "MemAvailable:    8000 kB\n");
  write("proc/self/cgroup", "3:cpu:/x\n5:memory:/docker/1\n");
  write("sys/fs/cgroup/memory/memory.limit_in_bytes", "1000000\n");
  write("sys/fs/cgroup/memory/memory.usage_in_bytes", "1500000\n");
  EXPECT_EQ(available_memory(0, root_).bytes, 0u);
}

}  // namespace
}  // namespace tutti::store
