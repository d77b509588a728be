#include "store/model_info.h"

#include <gtest/gtest.h>

namespace tutti::store {
namespace {

TEST(ParameterLines, AreWrittenAsOllamaDoes) {
  EXPECT_EQ(parameter_lines(R"({"repeat_penalty":1.2,"top_k":40,"min_p":0.05,"stop":["a b","c"]})"),
            "repeat_penalty                 1.2\n"
            "top_k                          40\n"
            "min_p                          0.05\n"
            "stop                           \"a b\"\n"
            "stop                           \"c\"\n");
  EXPECT_EQ(parameter_lines(R"({"temperature":1.0})"), "temperature                    1\n");
  EXPECT_EQ(parameter_lines(""), "");
  EXPECT_EQ(parameter_lines("[1]"), "");
}

}  // namespace
}  // namespace tutti::store
