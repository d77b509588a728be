// What holds for every tokenizer: streams equal whole texts, user content stays text, long words
// end.
#include <gtest/gtest.h>

#include <random>

#include "base/file.h"
#include "formats/tokenizer_json.h"
#include "tests/support/goldens.h"
#include "text/detokenizer.h"
#include "text/tokenizer.h"
#include "text/unicode.h"

namespace tutti::formats {
namespace {

using text::TextSpan;
using text::Tokenizer;

struct NamedTokenizer {
  std::string name;
  std::unique_ptr<Tokenizer> tokenizer;
};

const std::vector<NamedTokenizer>& tokenizers() {
  static const std::vector<NamedTokenizer> all = [] {
    std::vector<std::filesystem::path> folders = testing::golden_entries("text/tokenizers");
    folders.push_back(testing::demo_model_dir());
    std::vector<NamedTokenizer> loaded;
    for (const auto& folder : folders) {
      const auto bytes = read_file(folder / "tokenizer.json", std::size_t{64} << 20);
      TUTTI_CHECK(bytes.ok()) << bytes.status().message();
      auto spec = parse_tokenizer_json(*bytes);
      TUTTI_CHECK(spec.ok()) << spec.status().message();
      auto tokenizer = Tokenizer::create(std::move(*spec));
      TUTTI_CHECK(tokenizer.ok()) << tokenizer.status().message();
      loaded.push_back({folder.filename().string(), std::move(*tokenizer)});
    }
    return loaded;
  }();
  return all;
}

bool is_byte_level(const std::string& name) { return name.starts_with("bpe-") || name == "demo"; }

TEST(TokenizerPropertiesTest, AnyStreamOfIdsEqualsTheWholeText) {
  std::mt19937 random(11);
  for (const auto& [name, tokenizer] : tokenizers()) {
    SCOPED_TRACE(name);
    for (int trial = 0; trial < 300; ++trial) {
      // Ids around the single bytes and the special tokens come often, so that characters are cut.
      const int range =
          random() % 2 ? std::min(300, tokenizer->vocab_size()) : tokenizer->vocab_size() + 2;
      std::vector<std::int32_t> ids(random() % 24);
      for (std::int32_t& id : ids) id = static_cast<std::int32_t>(random() % range) - 1;
      const bool skip_special_tokens = random() % 2 == 0;
      text::IncrementalDetokenizer detokenizer(*tokenizer, skip_special_tokens);
      std::string streamed;
      for (const std::int32_t id : ids) {
        const std::string piece = detokenizer.push(id);
        ASSERT_TRUE(text::is_valid_utf8(piece)) << "half a character";
        streamed += piece;
      }
      streamed += detokenizer.finish();
      ASSERT_EQ(streamed, tokenizer->decode(ids, skip_special_tokens));
    }
  }
}

TEST(TokenizerPropertiesTest, ByteLevelTextComesAsSoonAsItsCharactersAreWhole) {
  for (const auto& [name, tokenizer] : tokenizers()) {
    if (!is_byte_level(name)) continue;
    SCOPED_TRACE(name);
    const std::string text = "h\xC3\xA9llo \xE4\xBD\xA0\xE5\xA5\xBD \xF0\x9F\x98\x80!";
    text::IncrementalDetokenizer detokenizer(*tokenizer, true);
    std::string bytes;
    std::string streamed;
    for (const std::int32_t id : tokenizer->encode(text, {.add_special_tokens = false})) {
      bytes += tokenizer->token_bytes(id);
      streamed += detokenizer.push(id);
      EXPECT_TRUE(bytes.starts_with(streamed));
      EXPECT_LT(bytes.size() - streamed.size(), 4U);  // less than one character is held back
    }
    EXPECT_EQ(bytes, text);
    EXPECT_EQ(streamed + detokenizer.finish(), text);
  }
}

TEST(TokenizerPropertiesTest, SpecialTokensInUserContentStayText) {
  for (const auto& [name, tokenizer] : tokenizers()) {
    SCOPED_TRACE(name);
    for (std::int32_t id = 0; id < tokenizer->vocab_size(); ++id) {
      if (!tokenizer->is_special(id)) continue;
      const std::string& token = tokenizer->id_to_token(id);
      SCOPED_TRACE(token);
      const std::string text = token + "user: " + token + " x" + token;
      const TextSpan content{token.size(), text.size() - token.size()};
      const std::vector<std::int32_t> ids =
          tokenizer->encode(text, {.add_special_tokens = false}, {{content}});
      EXPECT_EQ(std::count(ids.begin(), ids.end(), id), 2) << "only those of the template";
      // One byte of the token in a span is enough.
      const TextSpan last_byte{token.size() - 1, token.size()};
      const std::vector<std::int32_t> none =
          tokenizer->encode(token, {.add_special_tokens = false}, {{last_byte}});
      if (!is_byte_level(name)) continue;
      EXPECT_EQ(std::count(none.begin(), none.end(), id), 0);
      EXPECT_EQ(tokenizer->decode(none, true), token);
    }
  }
}

TEST(TokenizerPropertiesTest, AddedTokensInUserContentStayText) {
  for (const auto& [name, tokenizer] : tokenizers()) {
    const std::optional<std::int32_t> id = tokenizer->token_to_id("<tool_call>");
    if (!id || !is_byte_level(name)) continue;  // elsewhere it is a token that merging makes
    SCOPED_TRACE(name);
    const std::string text = "a<tool_call>b<tool_call>";
    const std::vector<std::int32_t> ids =
        tokenizer->encode(text, {.add_special_tokens = false}, {{TextSpan{0, 13}}});
    EXPECT_EQ(std::count(ids.begin(), ids.end(), *id), 1);
    EXPECT_EQ(ids.back(), *id);
    EXPECT_EQ(tokenizer->decode(ids, false), text);
  }
}

TEST(TokenizerPropertiesTest, SpansDoNotChangeTheIdsOfHarmlessText) {
  std::mt19937 random(3);
  const std::string text =
      "Hello  world, don't stop.\n\n  def f(x):\n\treturn x\xC3\xA9 + 123456 "
      "\xE4\xBD\xA0\xE5\xA5\xBD\xE4\xB8\x96\xE7\x95\x8C \xF0\x9F\x98\x80 e\xCC\x81 < s > [ CLS ]";
  for (const auto& [name, tokenizer] : tokenizers()) {
    SCOPED_TRACE(name);
    for (int trial = 0; trial < 50; ++trial) {
      std::vector<std::size_t> borders(2 * (random() % 4));
      for (std::size_t& border : borders) border = random() % (text.size() + 1);
      std::sort(borders.begin(), borders.end());
      std::vector<TextSpan> spans;
      for (std::size_t i = 0; i < borders.size(); i += 2) {
        spans.push_back({borders[i], borders[i + 1]});
      }
      ASSERT_EQ(tokenizer->encode(text, {}, spans), tokenizer->encode(text));
    }
  }
}

TEST(TokenizerPropertiesTest, PlainSpecialTokensAreText) {
  for (const auto& [name, tokenizer] : tokenizers()) {
    if (!is_byte_level(name)) continue;
    SCOPED_TRACE(name);
    for (std::int32_t id = 0; id < tokenizer->vocab_size(); ++id) {
      if (!tokenizer->is_special(id)) continue;
      const std::string text = "a " + tokenizer->id_to_token(id) + " b";
      const std::vector<std::int32_t> ids =
          tokenizer->encode(text, {.add_special_tokens = false, .parse_special = false});
      EXPECT_EQ(std::count(ids.begin(), ids.end(), id), 0);
      EXPECT_EQ(tokenizer->decode(ids, true), text);
    }
  }
}

TEST(TokenizerPropertiesTest, InvalidBytesCountAsReplacementCharacters) {
  const std::string broken = "a\xFF\xF0\x9F\x98 b\xC3";
  for (const auto& [name, tokenizer] : tokenizers()) {
    SCOPED_TRACE(name);
    EXPECT_EQ(tokenizer->encode(broken), tokenizer->encode(text::repair_utf8(broken)));
  }
}

TEST(TokenizerPropertiesTest, OneGiantWordComesBackWhole) {
  for (const auto& [name, tokenizer] : tokenizers()) {
    if (!is_byte_level(name)) continue;
    SCOPED_TRACE(name);
    for (const std::string_view unit : {"a", " ", "\n", "\xF0\x9F\x98\x80", "ab", "\xE4\xBD\xA0"}) {
      std::string text;
      while (text.size() < 500'000) text += unit;
      const std::vector<std::int32_t> ids = tokenizer->encode(text);
      EXPECT_TRUE(tokenizer->decode(ids, true) == text) << "of " << unit;
    }
  }
}

}  // namespace
}  // namespace tutti::formats
