#include "server/trace_context.h"

#include <gtest/gtest.h>

namespace tutti::server {
namespace {

const std::string kTrace = "4bf92f3577b34da6a3ce929d0e0e4736";
const std::string kSpan = "00f067aa0ba902b7";

TEST(TraceContext, ReadsTheFieldOfTheSpecification) {
  const auto context = parse_traceparent("00-" + kTrace + "-" + kSpan + "-01");
  ASSERT_TRUE(context);
  EXPECT_EQ(context->trace_id, kTrace);
  EXPECT_EQ(context->span_id, kSpan);
  EXPECT_EQ(context->flags, 1);
}

TEST(TraceContext, ReadsTheKnownPartsOfLaterVersions) {
  EXPECT_TRUE(parse_traceparent("cc-" + kTrace + "-" + kSpan + "-01"));
  EXPECT_TRUE(parse_traceparent("cc-" + kTrace + "-" + kSpan + "-01-what-comes"));
  EXPECT_FALSE(parse_traceparent("cc-" + kTrace + "-" + kSpan + "-01.what-comes"));
}

TEST(TraceContext, PassesOverWhatIsInvalid) {
  const std::string good = "00-" + kTrace + "-" + kSpan + "-01";
  std::string upper = good;
  upper[3] = 'A';
  for (const std::string& field :
       {std::string(), std::string("00"), good.substr(1), good + "-more", good + " ", upper,
        "ff" + good.substr(2), "00-" + std::string(32, '0') + "-" + kSpan + "-01",
        "00-" + kTrace + "-" + std::string(16, '0') + "-01", "00_" + kTrace + "-" + kSpan + "-01",
        "00-" + kTrace + "-" + kSpan + "-0x", std::string(200, '-')}) {
    EXPECT_FALSE(parse_traceparent(field)) << field;
  }
}

TEST(TraceContext, GoesOnInASpanOfOurOwn) {
  const TraceContext parent{kTrace, kSpan, 0xff};
  const TraceContext own = in_new_span(parent);
  EXPECT_EQ(own.trace_id, kTrace);
  EXPECT_NE(own.span_id, kSpan);
  const std::string field = format_traceparent(own);
  EXPECT_EQ(field, "00-" + kTrace + "-" + own.span_id + "-01");
  EXPECT_TRUE(parse_traceparent(field));
}

}  // namespace
}  // namespace tutti::server
