// Files that must be refused, with the field and the bound in the message.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fmt/format.h>

#include "formats/tokenizer_json.h"
#include "text/tokenizer.h"

namespace tutti::formats {
namespace {

using ::testing::HasSubstr;

// The error of parsing and building, or "accepted".
std::string refusal(std::string_view json) {
  auto spec = parse_tokenizer_json(json);
  if (!spec.ok()) return spec.status().message();
  const auto tokenizer = text::Tokenizer::create(std::move(*spec));
  return tokenizer.ok() ? "accepted" : tokenizer.status().message();
}

std::string bpe(std::string_view vocab, std::string_view merges, std::string_view rest = "") {
  return fmt::format(R"({{"model": {{"type": "BPE", "vocab": {}, "merges": {}}}{}}})", vocab,
                     merges, rest);
}

TEST(TokenizerJsonHostileTest, AcceptsThePlainFile) {
  EXPECT_EQ(refusal(bpe(R"({"a": 0, "b": 1, "ab": 2})", R"([["a", "b"]])")), "accepted");
  EXPECT_EQ(refusal(bpe(R"({"a": 0, "b": 1, "ab": 2})", R"(["a b"])")), "accepted");
  EXPECT_EQ(refusal(bpe(R"({"a": 0})", "[]", R"(, "pre_tokenizer": {"type": "UnicodeScripts"})")),
            "accepted");
}

TEST(TokenizerJsonHostileTest, VocabularyIsChecked) {
  EXPECT_THAT(refusal(bpe(R"({"a": 2147483647})", "[]")), HasSubstr("an id in [0, "));
  EXPECT_THAT(refusal(bpe(R"({"a": -1})", "[]")), HasSubstr("an id in [0, "));
  EXPECT_THAT(refusal(bpe(R"({"a": 1.5})", "[]")), HasSubstr("an id in [0, "));
  EXPECT_THAT(refusal(bpe(R"({"a": "0"})", "[]")), HasSubstr("an id in [0, "));
  EXPECT_THAT(refusal(bpe(R"({"a": 0, "b": 0})", "[]")), HasSubstr("both have id 0"));
  EXPECT_THAT(refusal(bpe(R"({"a": 0, "a": 1})", "[]")), HasSubstr("duplicate"));
  EXPECT_THAT(refusal(bpe("[]", "[]")), HasSubstr("model.vocab"));
  EXPECT_THAT(refusal(R"({"model": {"type": "BPE"}})"), HasSubstr("model.vocab"));
  EXPECT_THAT(refusal(R"({})"), HasSubstr("model"));
  EXPECT_THAT(refusal("[]"), HasSubstr("object"));
}

TEST(TokenizerJsonHostileTest, MergesAreChecked) {
  EXPECT_THAT(refusal(bpe(R"({"a": 0})", R"([["a", "b"]])")), HasSubstr("model.merges[0]"));
  EXPECT_THAT(refusal(bpe(R"({"a": 0, "b": 1})", R"([["a", "b"]])")), HasSubstr("\"ab\""));
  EXPECT_THAT(refusal(bpe(R"({"a": 0})", R"(["a"])")), HasSubstr("model.merges[0]"));
  EXPECT_THAT(refusal(bpe(R"({"a": 0})", R"([["a"]])")), HasSubstr("model.merges[0]"));
  EXPECT_THAT(refusal(bpe(R"({"a": 0})", R"([7])")), HasSubstr("model.merges[0]"));
  EXPECT_THAT(refusal(bpe(R"({"a": 0})", R"({})")), HasSubstr("model.merges"));
}

TEST(TokenizerJsonHostileTest, AddedTokensAreChecked) {
  const auto with_added = [](std::string_view added) {
    return refusal(
        bpe(R"({"a": 0, "b": 1})", "[]", fmt::format(R"(, "added_tokens": [{}])", added)));
  };
  EXPECT_EQ(with_added(R"({"id": 2, "content": "<s>"})"), "accepted");
  EXPECT_THAT(with_added(R"({"id": 2147483647, "content": "<s>"})"), HasSubstr("ids lie in [0, "));
  EXPECT_THAT(with_added(R"({"id": -1, "content": "<s>"})"), HasSubstr("added_tokens[0].id"));
  EXPECT_THAT(with_added(R"({"id": 0, "content": "<s>"})"), HasSubstr("which is token"));
  EXPECT_THAT(with_added(R"({"id": 1, "content": "a"})"), HasSubstr("\"b\""));
  EXPECT_THAT(with_added(R"({"id": 5, "content": "a"})"), HasSubstr("two ids"));
  EXPECT_THAT(with_added(R"({"content": "<s>"})"), HasSubstr("added_tokens[0].id"));
  EXPECT_THAT(with_added(R"({"id": 2, "content": 3})"), HasSubstr("added_tokens[0].content"));
}

TEST(TokenizerJsonHostileTest, UnknownComponentsAreNamed) {
  const auto with = [](std::string_view field, std::string_view value) {
    return refusal(bpe(R"({"a": 0})", "[]", fmt::format(R"(, "{}": {})", field, value)));
  };
  for (const char* field : {"normalizer", "pre_tokenizer", "decoder", "post_processor"}) {
    EXPECT_THAT(with(field, R"({"type": "Frobnicate"})"), HasSubstr("\"Frobnicate\""));
    EXPECT_THAT(with(field, R"({"type": 1})"), HasSubstr(fmt::format("{}.type", field)));
    EXPECT_THAT(with(field, R"([])"), HasSubstr(field));
    EXPECT_EQ(with(field, "null"), "accepted");
  }
  EXPECT_THAT(refusal(R"({"model": {"type": "WordLevel", "vocab": {}}})"),
              HasSubstr("\"WordLevel\""));
  EXPECT_THAT(with("pre_tokenizer",
                   R"({"type": "Split", "pattern": {"Regex": "[a"}, "behavior": "Isolated"})"),
              HasSubstr("a class without ]"));
  EXPECT_THAT(with("pre_tokenizer",
                   R"({"type": "Split", "pattern": {"Regex": "(a"}, "behavior": "Isolated"})"),
              HasSubstr("parenthesis"));
  EXPECT_EQ(with("normalizer", R"({"type": "Precompiled", "precompiled_charsmap": "AAAAAA=="})"),
            "accepted");  // a trie of no bytes
  EXPECT_THAT(with("normalizer", R"({"type": "Precompiled", "precompiled_charsmap": "////"})"),
              HasSubstr("precompiled_charsmap"));
  EXPECT_THAT(with("post_processor",
                   R"({"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "x"}}],
               "special_tokens": {"x": {"id": "x", "ids": [77]}}})"),
              HasSubstr("77"));
}

TEST(TokenizerJsonHostileTest, CatastrophicPatternsEnd) {
  auto spec = parse_tokenizer_json(
      bpe(R"({"a": 0, "b": 1})", "[]",
          R"(, "pre_tokenizer": {"type": "Split", "pattern": {"Regex": "(a+)+b"},
               "behavior": "Isolated", "invert": false})"));
  ASSERT_TRUE(spec.ok()) << spec.status().message();
  const auto tokenizer = text::Tokenizer::create(std::move(*spec));
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message();
  EXPECT_EQ((*tokenizer)->encode(std::string(5000, 'a')).size(), 5000U);
}

TEST(TokenizerJsonHostileTest, UnigramIsChecked) {
  const auto unigram = [](std::string_view vocab, std::string_view unk_id) {
    return refusal(fmt::format(R"({{"model": {{"type": "Unigram", "vocab": {}, "unk_id": {}}}}})",
                               vocab, unk_id));
  };
  EXPECT_EQ(unigram(R"([["a", -1.0]])", "0"), "accepted");
  EXPECT_THAT(unigram(R"([["a", -1.0]])", "1"), HasSubstr("model.unk_id"));
  EXPECT_THAT(unigram(R"([["a", "x"]])", "0"), HasSubstr("model.vocab[0]"));
  EXPECT_THAT(unigram(R"([["a", -1.0], ["a", -2.0]])", "0"), HasSubstr("two ids"));
}

}  // namespace
}  // namespace tutti::formats
