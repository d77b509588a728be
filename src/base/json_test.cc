#include "base/json.h"

#include <gtest/gtest.h>

#include <cmath>

namespace tutti {
namespace {

TEST(ParseJson, AcceptsEveryKind) {
  auto value = parse_json(R"( {"a":[1,-2,18446744073709551615,1.5,true,null,"é\u0000😀"],"b":{}} )");
  ASSERT_TRUE(value.ok()) << value.status().message();
  EXPECT_EQ(json::serialize(value->at("a").as_array()[6]), "\"é\\u0000😀\"");
  EXPECT_EQ(value->at("a").as_array()[2].as_uint64(), 18446744073709551615u);
}

TEST(ParseJson, RefusesWhatBreaksOthers) {
  for (std::string text :
       {std::string(1000000, '['), std::string(R"({"a":1,"a":2})"), std::string(R"({"":1,"":2})"),
        std::string("\"\\ud800\""), std::string("\"\xff\""), std::string("{}x"), std::string(""),
        std::string("NaN"), std::string("[1,]"), std::string("\"\x01\""), std::string("{\"a\":"),
        std::string("01"), std::string("[1] [2]")}) {
    auto value = parse_json(text);
    EXPECT_FALSE(value.ok()) << text.substr(0, 40);
  }
}

TEST(ParseJson, NamesTheDuplicateKey) {
  auto value = parse_json(R"({"x":{"model":1,"model":2}})");
  ASSERT_FALSE(value.ok());
  EXPECT_NE(value.status().message().find("\"model\""), std::string::npos);
}

TEST(ParseJson, DepthLimitIsExact) {
  auto nested = [](int depth) { return std::string(depth, '[') + std::string(depth, ']'); };
  EXPECT_TRUE(parse_json(nested(64)).ok());
  EXPECT_FALSE(parse_json(nested(65)).ok());
}

TEST(ParseJson, LargeNumbers) {
  EXPECT_FALSE(parse_json("1e999999").ok() && parse_json("1e999999")->as_double() < 1e308);
  auto big = parse_json("36893488147419103232");
  ASSERT_TRUE(big.ok());
  EXPECT_TRUE(big->is_double());
}

TEST(WriteJson, WritesNumbersAsPeopleDo) {
  EXPECT_EQ(write_json(json::array{1.2, 0.1, -0.0, 1.0, 1e300, 5, std::uint64_t{1} << 63}),
            "[1.2,0.1,-0.0,1.0,1e+300,5,9223372036854775808]");
  EXPECT_EQ(write_json(json::array{std::nan(""), HUGE_VAL}), "[null,null]");
}

TEST(WriteJson, ReadsBackAsWhatItWas) {
  const json::value value = json::object{
      {"a\"\n\u4f60", json::array{nullptr, true, -1, 0.1 + 0.2, "x\x01/", json::object{}}},
      {"b", json::array{}},
      {"c", 1.7976931348623157e308}};
  const std::string text = write_json(value);
  auto read = parse_json(text);
  ASSERT_TRUE(read.ok()) << text;
  EXPECT_EQ(*read, value);
}

}  // namespace
}  // namespace tutti
