// Vocabularies in GGUF that must be refused, with the key and the bound in the message.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <unistd.h>

#include <functional>
#include <limits>

#include "formats/gguf_vocab.h"
#include "tests/support/gguf_writer.h"
#include "text/tokenizer.h"

namespace tutti::formats {
namespace {

using ::testing::HasSubstr;
using tutti::testing::GgufWriter;

// What a file says of its vocabulary. Without changes it is accepted.
struct Vocab {
  std::string model = "llama";
  std::vector<std::string> tokens = {"<unk>", "<s>", "</s>", "<0x41>", "a", "b", "ab"};
  std::vector<std::int32_t> types = {2, 3, 3, 6, 1, 1, 1};
  std::vector<float> scores = {0, 0, 0, 0, -1, -2, -3};
  std::vector<std::uint8_t> narrow_scores;  // instead of `scores` unless empty
  std::vector<std::string> merges = {"a b"};
  std::string pre = "llama-bpe";
  std::vector<std::pair<std::string, std::uint32_t>> ids = {{"bos_token_id", 1},
                                                            {"eos_token_id", 2}};
  std::vector<std::pair<std::string, std::string>> texts = {};  // keys of the wrong type
};

void write(const Vocab& vocab, const std::filesystem::path& path) {
  GgufWriter writer;
  const auto key = [](std::string_view name) { return "tokenizer.ggml." + std::string(name); };
  writer.add("general.architecture", "llama");
  writer.add(key("model"), vocab.model);
  writer.add(key("tokens"), vocab.tokens);
  writer.add(key("token_type"), vocab.types);
  if (vocab.narrow_scores.empty()) {
    writer.add(key("scores"), vocab.scores);
  } else {
    writer.add(key("scores"), vocab.narrow_scores);
  }
  writer.add(key("merges"), vocab.merges);
  writer.add(key("pre"), vocab.pre);
  for (const auto& [name, id] : vocab.ids) writer.add(key(name), id);
  for (const auto& [name, text] : vocab.texts) writer.add(key(name), text);
  writer.write(path);
}

// The error of reading and building the tokenizer, or the ids of "Aab" when it is accepted.
std::string outcome(const std::function<void(Vocab&)>& change) {
  Vocab vocab;
  change(vocab);
  const auto path = std::filesystem::temp_directory_path() /
                    ("tutti-vocab-" + std::to_string(::getpid()) + ".gguf");
  write(vocab, path);
  const Result<GgufFile> file = GgufFile::open(path);
  std::filesystem::remove(path);
  if (!file.ok()) return file.status().message();
  Result<text::TokenizerSpec> spec = gguf_vocab(*file);
  if (!spec.ok()) return spec.status().message();
  const auto tokenizer = text::Tokenizer::create(std::move(*spec));
  if (!tokenizer.ok()) return tokenizer.status().message();
  std::string ids = "ids";
  for (const std::int32_t id : (*tokenizer)->encode("Aab")) ids += " " + std::to_string(id);
  return ids;
}

struct Hostile {
  std::function<void(Vocab&)> change;
  std::string message;
};

void expect_refusals(const std::vector<Hostile>& cases) {
  for (const Hostile& hostile : cases) {
    SCOPED_TRACE(hostile.message);
    EXPECT_THAT(outcome(hostile.change), HasSubstr(hostile.message));
  }
}

TEST(GgufVocabHostileTest, ThePlainFilesAreAccepted) {
  // "▁" has no token and no bytes here.
  EXPECT_EQ(outcome([](Vocab&) {}), "ids 1 0 3 6");
  EXPECT_EQ(outcome([](Vocab& vocab) {
              vocab.model = "gpt2";
              vocab.tokens[3] = "A";
              vocab.types[3] = 1;
            }),
            "ids 1 3 6");
}

TEST(GgufVocabHostileTest, TokensAreChecked) {
  expect_refusals({
      {[](Vocab& v) { v.tokens.clear(); }, R"(key "tokenizer.ggml.tokens": 0 tokens)"},
      {[](Vocab& v) { v.tokens[3] = "<0x-1>"; },
       R"(token 3 is "<0x-1>", must be <0x00> to <0xFF> by its type)"},
      {[](Vocab& v) { v.tokens[3] = "<0x100>"; }, R"(token 3 is "<0x100>", must be <0x00>)"},
      {[](Vocab& v) { v.tokens[3] = ""; }, R"(token 3 is "", must be <0x00> to <0xFF>)"},
      {[](Vocab& v) { v.tokens[5] = "a"; }, R"(token "a" has two ids, 4 and 5)"},
      {[](Vocab& v) { v.tokens[5] = "\xff\xfe"; }, "token 5 is not valid UTF-8"},
      {[](Vocab& v) { v.tokens[1] = "\xff"; }, "token 1 is not valid UTF-8"},
  });
}

TEST(GgufVocabHostileTest, TypesAndScoresAreChecked) {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  expect_refusals({
      {[](Vocab& v) { v.types[4] = 7; },
       R"(key "tokenizer.ggml.token_type": token 4 has type 7, must be in [0, 6])"},
      {[](Vocab& v) { v.types[4] = -1; }, "token 4 has type -1, must be in [0, 6]"},
      {[](Vocab& v) { v.types.pop_back(); }, "6 types for 7 tokens"},
      {[](Vocab& v) { v.scores.pop_back(); }, "6 scores for 7 tokens"},
      {[](Vocab& v) { v.scores.clear(); }, "0 scores for 7 tokens"},
      {[=](Vocab& v) { v.scores[2] = kNan; },
       R"(key "tokenizer.ggml.scores": element 2 is not a number)"},
      {[](Vocab& v) { v.narrow_scores.assign(7, 1); },
       R"(key "tokenizer.ggml.scores" is an array of u8, must be an array of floats)"},
  });
}

TEST(GgufVocabHostileTest, InfiniteScoresOrderTheMergesOnly) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  EXPECT_EQ(outcome([=](Vocab& v) { v.scores[6] = -kInfinity; }), "ids 1 0 3 6");
}

TEST(GgufVocabHostileTest, NamedTokensAreChecked) {
  expect_refusals({
      {[](Vocab& v) {
         v.ids = {{"bos_token_id", 7}};
       },
       R"(key "tokenizer.ggml.bos_token_id": is 7, must be a token in [0, 7))"},
      {[](Vocab& v) {
         v.ids = {{"eos_token_id", 0xFFFFFFFE}};
       },
       R"(key "tokenizer.ggml.eos_token_id": is 4294967294, must be a token)"},
      {[](Vocab& v) {
         v.ids = {{"unknown_token_id", 1000000}};
       },
       "unknown_token_id\": is 1000000"},
      {[](Vocab& v) {
         v.ids = {{"padding_token_id", 7}};
       },
       "padding_token_id\": is 7"},
      {[](Vocab& v) { v.ids[0].second = 5, v.tokens[5] = ""; }, "bos_token_id\": is 5, must be"},
      {[](Vocab& v) {
         v.ids.clear(), v.texts = {{"bos_token_id", "1"}};
       },
       R"(key "tokenizer.ggml.bos_token_id" is of type string, must be an integer)"},
      {[](Vocab& v) {
         v.texts = {{"add_bos_token", "true"}};
       },
       R"(key "tokenizer.ggml.add_bos_token" is of type string)"},
  });
}

TEST(GgufVocabHostileTest, MergesAreChecked) {
  const auto with_merges = [](std::vector<std::string> merges) {
    return [merges = std::move(merges)](Vocab& v) {
      v.model = "gpt2";
      v.merges = merges;
    };
  };
  expect_refusals({
      {with_merges({"ab"}), R"(key "tokenizer.ggml.merges": merge 0 is "ab", must be two tokens)"},
      {with_merges({"a b", ""}), R"(merge 1 is "", must be two tokens)"},
      {with_merges({"a "}), R"(merge 0: "" is not a token)"},
      {with_merges({"a z"}), R"(merge 0: "z" is not a token)"},
      {with_merges({"b a"}), R"(merge 0: "ba" is not a token)"},
      {with_merges({"a b c"}), R"(merge 0: "b c" is not a token)"},
  });
}

TEST(GgufVocabHostileTest, WhatIsNotKnownIsNamed) {
  expect_refusals({
      {[](Vocab& v) { v.model = "rwkv"; }, R"(tokenizer.ggml.model "rwkv" is not supported)"},
      {[](Vocab& v) { v.model = ""; }, R"(tokenizer.ggml.model "" is not supported)"},
      {[](Vocab& v) { v.model = "gpt2", v.pre = "no-such"; },
       R"(tokenizer.ggml.pre "no-such" is not supported)"},
  });
}

}  // namespace
}  // namespace tutti::formats
