#include "server/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <sstream>
#include <thread>

namespace tutti::server {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(Histogram, CountsCumulatively) {
  const double bounds[] = {1, 2, 5};
  Histogram histogram(bounds);
  for (const double value : {0.5, 1.0, 1.5, 5.0, 100.0}) histogram.observe(value);
  EXPECT_EQ(histogram.cumulative_count(0), 2u);  // bounds are inclusive
  EXPECT_EQ(histogram.cumulative_count(1), 3u);
  EXPECT_EQ(histogram.cumulative_count(2), 4u);
  EXPECT_EQ(histogram.cumulative_count(3), 5u);
  EXPECT_EQ(histogram.sum(), 108.0);
}

TEST(Histogram, LosesNothingBetweenThreads) {
  const double bounds[] = {1};
  Histogram histogram(bounds);
  const auto work = [&] {
    for (int i = 0; i < 10000; ++i) histogram.observe(1);
  };
  std::thread other(work);
  work();
  other.join();
  EXPECT_EQ(histogram.cumulative_count(1), 20000u);
  EXPECT_EQ(histogram.sum(), 20000.0);
}

class RenderMetrics : public ::testing::Test {
 protected:
  std::string render(bool with_vllm_names) {
    engine::EngineStats stats;
    stats.num_running = 3;
    stats.num_blocks = 10;
    stats.num_used_blocks = 5;
    for (const int num_rows : {1, 2, 8, 20000}) stats.rows_of_steps.observe(num_rows);
    const ModelSnapshot models[] = {{&first_, stats}, {&second_, stats}};
    return render_metrics(models, {}, with_vllm_names);
  }
  ModelMetrics first_{"a\"b", 100};
  ModelMetrics second_{"c", 100, {"int8", true}};
};

TEST_F(RenderMetrics, HasWhatVllmsDashboardsRead) {
  second_.params_n.observe(2);
  const std::string text = render(true);
  for (const char* line :
       {R"(vllm:iteration_tokens_total_bucket{model_name="c",le="1"} 1)",
        R"(vllm:iteration_tokens_total_bucket{model_name="c",le="8"} 3)",
        R"(vllm:iteration_tokens_total_bucket{model_name="c",le="16384"} 3)",
        R"(vllm:iteration_tokens_total_bucket{model_name="c",le="+Inf"} 4)",
        R"(vllm:iteration_tokens_total_sum{model_name="c"} 20011)",
        R"(vllm:iteration_tokens_total_count{model_name="c"} 4)",
        R"(vllm:cache_config_info{model_name="c",block_size="32",cache_dtype="int8",)"
        R"(enable_prefix_caching="True",num_gpu_blocks="10",num_cpu_blocks="0"} 1)",
        R"(vllm:request_params_n_sum{model_name="c"} 2)",
        R"(vllm:request_params_max_tokens_count{model_name="c"} 0)",
        R"(vllm:request_time_per_output_token_seconds_count{model_name="c"} 0)"}) {
    EXPECT_THAT(text, HasSubstr(std::string(line) + "\n"));
  }
}

TEST_F(RenderMetrics, WritesValuesWithLabels) {
  first_.time_to_first_token.observe(0.03);
  first_.count_request(Outcome::kRejected);
  const std::string text = render(false);
  EXPECT_THAT(text, HasSubstr("tutti_num_requests_running{model_name=\"c\"} 3\n"));
  EXPECT_THAT(text, HasSubstr("tutti_kv_cache_usage_perc{model_name=\"a\\\"b\"} 0.5\n"));
  EXPECT_THAT(text,
              HasSubstr("tutti_requests_total{model_name=\"a\\\"b\",outcome=\"rejected\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("tutti_time_to_first_token_seconds_bucket{model_name=\"a\\\"b\","
                              "le=\"0.04\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("tutti_request_prompt_tokens_bucket{model_name=\"c\",le=\"100\"} 0"));
  EXPECT_THAT(text, Not(HasSubstr("vllm:")));
  EXPECT_THAT(render(true), HasSubstr("vllm:num_requests_running{model_name=\"c\"} 3\n"));
}

// The format's rule: the samples of one name stand together under one TYPE line.
TEST_F(RenderMetrics, KeepsFamiliesTogether) {
  std::set<std::string> seen;
  std::string family;
  std::istringstream lines(render(true));
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("# TYPE ")) {
      family = line.substr(7, line.find(' ', 7) - 7);
      EXPECT_TRUE(seen.insert(family).second) << family;
    } else if (!line.starts_with("#")) {
      EXPECT_TRUE(line.starts_with(family)) << line;
    }
  }
  for (const char* name : {"tutti_inter_token_latency_seconds", "tutti_request_success_total",
                           "vllm:e2e_request_latency_seconds", "vllm:generation_tokens_total"}) {
    EXPECT_TRUE(seen.contains(name)) << name;
  }
}

}  // namespace
}  // namespace tutti::server
