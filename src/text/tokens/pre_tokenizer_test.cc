#include "text/tokens/pre_tokenizer.h"

#include <gtest/gtest.h>

#include <boost/json/serialize.hpp>

#include "base/file.h"
#include "base/json.h"
#include "tests/support/goldens.h"

namespace tutti::text {
namespace {

json::array spans_of(const PreTokenizedText& pieces) {
  json::array spans;
  for (const TextSpan span : pieces.pieces) spans.push_back({span.begin, span.end});
  return spans;
}

// What Hugging Face's tokenizers cut (tests/goldens/text/make_unicode_scripts.py).
TEST(PreTokenizerTest, UnicodeScriptsEqualTheGoldens) {
  const auto created = PreTokenizer::create({pre_tokenizer::UnicodeScripts{}});
  ASSERT_TRUE(created.ok()) << created.status().message();
  const auto golden = read_file(testing::goldens_dir() / "text/unicode_scripts.json", 1 << 20);
  ASSERT_TRUE(golden.ok()) << golden.status().message();
  const auto rows = parse_json(*golden);
  ASSERT_TRUE(rows.ok()) << rows.status().message();
  EXPECT_GE(rows->as_array().size(), 300U);
  for (const json::value& row : rows->as_array()) {
    const std::string text(std::string_view(row.at("text").as_string()));
    EXPECT_EQ(json::serialize(spans_of(created->apply(text, true))),
              json::serialize(row.at("pieces")))
        << text;
  }
}

TEST(PreTokenizerTest, UnicodeScriptsCutEachPieceOfTheStepBefore) {
  const auto created =
      PreTokenizer::create({pre_tokenizer::WhitespaceSplit{}, pre_tokenizer::UnicodeScripts{}});
  ASSERT_TRUE(created.ok()) << created.status().message();
  const PreTokenizedText pieces = created->apply("ab\u0434 \u0434\u0434 1", true);
  EXPECT_EQ(json::serialize(spans_of(pieces)), "[[0,2],[2,4],[5,9],[10,11]]");
  EXPECT_TRUE(pieces.first_is_at_start);
  // The space begins no piece, so the first one does not stand at the start.
  const auto alone = PreTokenizer::create({pre_tokenizer::UnicodeScripts{}});
  EXPECT_FALSE(alone->apply(" a", true).first_is_at_start);
  EXPECT_TRUE(alone->apply("  ", true).pieces.empty());
}

}  // namespace
}  // namespace tutti::text
