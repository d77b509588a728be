#include "text/regex.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tutti::text {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<std::string> matches(std::string_view pattern, std::string_view text) {
  const Result<Regex> regex = Regex::compile(pattern);
  EXPECT_TRUE(regex.ok()) << regex.status().message();
  std::vector<std::string> found;
  if (!regex.ok()) return found;
  RegexMatches all(*regex, text);
  while (const auto match = all.next()) {
    found.emplace_back(text.substr(match->begin, match->end - match->begin));
  }
  return found;
}

TEST(RegexTest, WhiteSpaceIsUnicodesAndNotPcres) {
  EXPECT_THAT(matches(R"(\s+)", "a\xC2\xA0\xE3\x80\x80 b"), ElementsAre("\xC2\xA0\xE3\x80\x80 "));
  EXPECT_THAT(matches(R"(\s)", "\xE1\xA0\x8E"), ElementsAre());  // U+180E, white space to PCRE2
  EXPECT_THAT(matches(R"([^\s])", "\xE1\xA0\x8E"), ElementsAre("\xE1\xA0\x8E"));
  EXPECT_THAT(matches(R"(\S+)", "a\xC2\x85z"), ElementsAre("a", "z"));
}

TEST(RegexTest, WordCharactersAreOnigurumas) {
  // A combining mark and a connector are word characters; a joiner and a superscript two are not.
  EXPECT_THAT(matches(R"(\w+)", "e\xCC\x81_\xE2\x80\xBF\xE2\x80\x8Dx"),
              ElementsAre("e\xCC\x81_\xE2\x80\xBF", "x"));
  EXPECT_THAT(matches(R"([\w]+|[^\w\s]+)", "a\xC2\xB2 b"), ElementsAre("a", "\xC2\xB2", "b"));
}

TEST(RegexTest, IgnoringCaseFoldsAsUnicodeDoes) {
  EXPECT_THAT(matches(R"((?i:'s|'ll))", "'S 'LL '\xC5\xBF"),
              ElementsAre("'S", "'LL", "'\xC5\xBF"));  // long s
}

TEST(RegexTest, ClassesNestAndIntersect) {
  EXPECT_THAT(matches(R"([a-e&&[^bd]]+)", "abcde"), ElementsAre("a", "c", "e"));
  EXPECT_THAT(matches(R"([a[0-3]]+)", "ab12a4"), ElementsAre("a", "12a"));
  EXPECT_THAT(matches(R"([^a[0-3]]+)", "ab12a4"), ElementsAre("b", "4"));
  EXPECT_THAT(matches(R"([\p{L}&&[^\p{Han}]]+)",
                      "ab\xE4\xB8\xAD"
                      "c"),
              ElementsAre("ab", "c"));
  EXPECT_THAT(matches(R"([]a]+)", "a]b"), ElementsAre("a]"));
}

TEST(RegexTest, LinesEndAsInRuby) {
  EXPECT_THAT(matches("^a.$", "ab\nac"), ElementsAre("ab", "ac"));
  EXPECT_THAT(matches(R"(\h+)", "xffg"), ElementsAre("ff"));
  EXPECT_THAT(matches(R"(\u00e9)", "caf\xC3\xA9"), ElementsAre("\xC3\xA9"));
}

TEST(RegexTest, EmptyMatchesMoveOn) {
  EXPECT_THAT(matches("b*", "abc"), ElementsAre("", "b", ""));
  EXPECT_THAT(matches("(?=\xC3\xA9)", "a\xC3\xA9\xC3\xA9"), ElementsAre("", ""));
}

TEST(RegexTest, ErrorsNameThePattern) {
  EXPECT_THAT(Regex::compile("(a").status().message(), HasSubstr("(a"));
  EXPECT_THAT(Regex::compile("[a").status().message(), HasSubstr("a class without ]"));
  EXPECT_THAT(Regex::compile("\\").status().message(), HasSubstr("backslash"));
  EXPECT_FALSE(Regex::compile("\\p{NoSuchThing}").ok());
  EXPECT_FALSE(Regex::compile("\\p{").ok());
  EXPECT_FALSE(Regex::compile(std::string(100'000, 'a')).ok());
  EXPECT_FALSE(Regex::compile(std::string(60'000, '(')).ok());
  EXPECT_FALSE(Regex::compile(std::string(3'000, '[')).ok());
}

TEST(RegexTest, CatastrophicPatternsStopAtTheLimit) {
  EXPECT_THAT(matches("(a+)+b", std::string(3000, 'a')), ElementsAre());
}

TEST(RegexTest, MillionsOfSpacesAreOneMatch) {
  const std::string spaces(2'000'000, ' ');
  EXPECT_THAT(matches(R"(\s*[\r\n]+|\s+(?!\S)|\s+)", spaces), ElementsAre(spaces));
}

}  // namespace
}  // namespace tutti::text
