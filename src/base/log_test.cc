#include "base/log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/json.h"

namespace tutti::log {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;

class LogTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { initialise(); }
  void TearDown() override {
    set_format("text");
    set_level("info");
  }

  template <typename Write>
  static std::string written(Write write) {
    ::testing::internal::CaptureStderr();
    write();
    std::fflush(stderr);
    return ::testing::internal::GetCapturedStderr();
  }

  const json::object fields_{
      {"id", "a{}b"}, {"note", "two words\n\"x\""}, {"count", 3}, {"seconds", 0.25}};
};

TEST_F(LogTest, TextIsOneLineOfNamesAndValues) {
  const std::string line = written([&] { event("request", fields_); });
  EXPECT_THAT(line,
              EndsWith("request id=a{}b note=\"two words\\n\\\"x\\\"\" count=3 seconds=0.25\n"));
  EXPECT_THAT(line, HasSubstr("info"));
}

TEST_F(LogTest, JsonLinesAreObjects) {
  ASSERT_TRUE(set_format("json"));
  const std::string line = written([&] { event("request", fields_); });
  const auto object = parse_json(line);
  ASSERT_TRUE(object.ok()) << line;
  EXPECT_EQ(object->at("message"), "request");
  EXPECT_EQ(object->at("id"), "a{}b");
  EXPECT_EQ(object->at("note"), "two words\n\"x\"");
  EXPECT_EQ(object->at("seconds"), 0.25);
  const std::string plain = written([] { warn("a \"{}\"", "quoted\n"); });
  const auto message = parse_json(plain);
  ASSERT_TRUE(message.ok()) << plain;
  EXPECT_EQ(message->at("message"), "a \"quoted\n\"");
  EXPECT_EQ(message->at("level"), "warning");
  EXPECT_EQ(message->at("time").as_string().size(), 24u);
}

TEST_F(LogTest, EventsKeepToTheLevel) {
  ASSERT_TRUE(set_level("warn"));
  EXPECT_EQ(written([&] { event("request", fields_); }), "");
  EXPECT_FALSE(set_level("loud"));
  EXPECT_FALSE(set_format("xml"));
}

}  // namespace
}  // namespace tutti::log
