#include "formats/model_source.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/file.h"
#include "tests/support/goldens.h"
#include "tests/support/write_text.h"

namespace tutti::formats {
namespace {
namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// A folder with the least that a model must have, to be added to.
class ModelFolder : public ::testing::Test {
 protected:
  void SetUp() override {
    write_text(folder_ / "config.json", R"({"model_type": "llama", "eos_token_id": 7})");
    ASSERT_TRUE(write_safetensors(folder_ / "model.safetensors", tensors_).ok());
  }
  ModelSource open(ModelParts parts = ModelParts::kAll) {
    auto source = ModelSource::open(folder_, parts);
    EXPECT_TRUE(source.ok()) << source.status().message();
    return source.ok() ? std::move(*source) : ModelSource();
  }
  std::string error(ModelParts parts = ModelParts::kAll) {
    const auto source = ModelSource::open(folder_, parts);
    return source.ok() ? "opened" : source.status().message();
  }

  fs::path folder_ = tutti::testing::make_temp_dir();
  std::vector<TensorView> tensors_ = {
      {"w", DType::kBF16, {1, 2}, std::as_bytes(std::span("abc", 4))},
      {"ids", DType::kI32, {1}, std::as_bytes(std::span("abc", 4))}};
};

TEST_F(ModelFolder, TensorsAreFoundByName) {
  const ModelSource source = open();
  EXPECT_EQ(source.gguf(), nullptr);
  EXPECT_EQ(source.tensors().size(), 2u);
  ASSERT_NE(source.find_tensor("w"), nullptr);
  EXPECT_TRUE(source.find_weight("w").ok());
  EXPECT_EQ(source.find_weight("v").status().kind(), ErrorKind::kNotFound);
  EXPECT_THAT(source.find_weight("v").status().message(), HasSubstr("tensor v is missing"));
  EXPECT_THAT(source.find_weight("ids").status().message(),
              HasSubstr("tensor ids has type I32, which is not supported yet"));
}

TEST_F(ModelFolder, MovingASourceKeepsItsIndex) {
  ModelSource source = open();
  const ModelSource moved = std::move(source);
  EXPECT_EQ(moved.find_tensor("w"), &moved.tensors()[0]);
}

TEST_F(ModelFolder, ReleasedTensorsStayReadable) {
  std::string values(1 << 16, 'x');
  tensors_[0] = {"w", DType::kU8, {1 << 16}, std::as_bytes(std::span(values))};
  ASSERT_TRUE(write_safetensors(folder_ / "model.safetensors", tensors_).ok());
  const ModelSource source = open();
  const TensorView& tensor = *source.find_tensor("w");
  source.release_pages(tensor);
  EXPECT_TRUE(std::ranges::equal(tensor.bytes, tensors_[0].bytes));
}

TEST_F(ModelFolder, WhatIsMissingIsNamed) {
  fs::remove(folder_ / "model.safetensors");
  EXPECT_THAT(error(), HasSubstr("neither model.safetensors nor"));
  fs::remove(folder_ / "config.json");
  EXPECT_THAT(error(), HasSubstr("config.json is not there"));
  EXPECT_THAT(error(ModelParts::kTokenizer), HasSubstr("neither tokenizer.json nor"));
  write_text(folder_ / "tokenizer.json", "{}");
  EXPECT_EQ(error(ModelParts::kTokenizer), "opened");
  const auto absent = ModelSource::open(folder_ / "absent");
  EXPECT_EQ(absent.status().kind(), ErrorKind::kNotFound);
}

TEST_F(ModelFolder, FilesThatAreNoModelAreRefusedByName) {
  for (const char* name : {"model.pt", "pytorch_model.bin", "model.pth", "model.ckpt"}) {
    write_text(folder_ / name, "\x80\x04.");
    const auto source = ModelSource::open(folder_ / name);
    EXPECT_EQ(source.status().kind(), ErrorKind::kUnsupported);
    EXPECT_THAT(source.status().message(), HasSubstr(std::string(name) + ": pickled weights"));
  }
  EXPECT_THAT(ModelSource::open(folder_ / "model.safetensors").status().message(),
              HasSubstr("name the folder that holds it"));
  EXPECT_THAT(ModelSource::open(folder_ / "config.json").status().message(),
              HasSubstr("not a GGUF file"));
}

TEST_F(ModelFolder, EndTokensFallBackToConfig) {
  EXPECT_THAT(open().generation_config().eos_token_ids, ElementsAre(7));
  write_text(folder_ / "generation_config.json", R"({"eos_token_id": [3, 4], "top_p": 0.9})");
  EXPECT_THAT(open().generation_config().eos_token_ids, ElementsAre(3, 4));
  EXPECT_EQ(open().generation_config().top_p, 0.9);
  write_text(folder_ / "config.json", R"({"text_config": {"eos_token_id": 9}})");
  write_text(folder_ / "generation_config.json", "{}");
  EXPECT_THAT(open().generation_config().eos_token_ids, ElementsAre(9));
}

TEST_F(ModelFolder, BrokenConfigsAreNamed) {
  write_text(folder_ / "generation_config.json", "{");
  EXPECT_THAT(error(), HasSubstr("generation_config.json: invalid JSON"));
  write_text(folder_ / "config.json", "[1]");
  EXPECT_THAT(error(), HasSubstr("config.json: must be a JSON object"));
}

TEST_F(ModelFolder, TheTemplateFileWinsOverTheConfig) {
  EXPECT_EQ(open().chat_template(), std::nullopt);
  write_text(folder_ / "tokenizer_config.json", R"({"chat_template": "from config"})");
  EXPECT_EQ(open().chat_template(), "from config");
  write_text(folder_ / "chat_template.json", R"({"chat_template": "from json"})");
  EXPECT_EQ(open().chat_template(), "from json");
  write_text(folder_ / "chat_template.jinja", "from file\n");
  EXPECT_EQ(open().chat_template(), "from file\n");
}

TEST_F(ModelFolder, NamedTemplates) {
  write_text(folder_ / "tokenizer_config.json", R"({"chat_template": [
      {"name": "tool_use", "template": "tools"}, {"name": "default", "template": "plain"}]})");
  fs::create_directory(folder_ / "additional_chat_templates");
  write_text(folder_ / "additional_chat_templates" / "rag.jinja", "documents");
  const ModelSource source = open();
  EXPECT_EQ(source.chat_template(), "plain");
  EXPECT_EQ(source.named_chat_template("tool_use"), "tools");
  EXPECT_EQ(source.named_chat_template("rag"), "documents");
  write_text(folder_ / "tokenizer_config.json", R"({"chat_template": 5})");
  EXPECT_THAT(error(),
              HasSubstr("tokenizer_config.json: chat_template must be a string or a list"));
}

TEST(ConfigJson, PythonLiteralsBecomeNull) {
  const auto object = parse_config_json(
      "\xef\xbb\xbf{\"a\": NaN, \"b\": [Infinity, -Infinity, -1], \"c\": \"\\\"NaN\", \"a\": 2}",
      "config.json");
  ASSERT_TRUE(object.ok()) << object.status().message();
  EXPECT_EQ(object->at("a"), 2);
  EXPECT_EQ(object->at("b"), (boost::json::array{nullptr, nullptr, -1}));
  EXPECT_EQ(object->at("c"), "\"NaN");
}

TEST(GenerationConfigJson, ReadsTheUsualFields) {
  const GenerationConfig config =
      parse_generation_config(boost::json::object{{"temperature", 0.6},
                                                  {"top_p", 1},
                                                  {"top_k", 20},
                                                  {"do_sample", true},
                                                  {"repetition_penalty", 1.05},
                                                  {"bos_token_id", 1},
                                                  {"pad_token_id", nullptr},
                                                  {"eos_token_id", 2},
                                                  {"transformers_version", "4.51.0"}},
                              "generation_config.json");
  EXPECT_EQ(config.temperature, 0.6);
  EXPECT_EQ(config.top_p, 1.0);
  EXPECT_EQ(config.top_k, 20);
  EXPECT_EQ(config.do_sample, true);
  EXPECT_EQ(config.repetition_penalty, 1.05);
  EXPECT_EQ(config.bos_token_id, 1);
  EXPECT_EQ(config.pad_token_id, std::nullopt);
  EXPECT_THAT(config.eos_token_ids, ElementsAre(2));
  EXPECT_TRUE(config.warnings.empty());
}

TEST(GenerationConfigJson, ValuesOutsideTheirRangeAreIgnoredWithAWarning) {
  const std::pair<const char*, boost::json::value> bad[] = {
      {"temperature", -1},       {"temperature", "0.5"}, {"top_p", 0},         {"top_p", 1.5},
      {"min_p", -0.1},           {"top_k", 1.5},         {"top_k", 1e99},      {"do_sample", 1},
      {"repetition_penalty", 0}, {"eos_token_id", -1},   {"eos_token_id", "2"}};
  for (const auto& [key, value] : bad) {
    const GenerationConfig config =
        parse_generation_config(boost::json::object{{key, value}}, "generation_config.json");
    ASSERT_EQ(config.warnings.size(), 1u) << key;
    EXPECT_THAT(config.warnings[0], HasSubstr("generation_config.json: " + std::string(key)));
  }
}

TEST(ModelSourceGguf, ReadsTemplatesAndSampling) {
  const auto source = ModelSource::open(tutti::testing::goldens_dir().parent_path() /
                                        "fuzz/corpus/gguf/valid_v3.gguf");
  ASSERT_TRUE(source.ok()) << source.status().message();
  ASSERT_NE(source->gguf(), nullptr);
  EXPECT_EQ(source->chat_template(), "{{ messages }}");
  EXPECT_EQ(source->named_chat_template("tool_use"), "{{ tools }}");
  EXPECT_FLOAT_EQ(static_cast<float>(*source->generation_config().temperature), 0.7f);
  EXPECT_EQ(source->generation_config().top_k, 40);
  EXPECT_THAT(source->generation_config().eos_token_ids, ElementsAre(2, 3));
  EXPECT_THAT(source->find_weight("q2_k").status().message(),
              HasSubstr("tensor q2_k has type Q2_K, which is not supported yet"));
  EXPECT_TRUE(source->find_weight("q4_k").ok());
}

// A GGUF file that holds "split.no" and "split.count" and one tensor of eight floats.
std::string split_part(std::uint16_t index, std::uint16_t count, const std::string& tensor) {
  std::string bytes = "GGUF";
  const auto put = [&bytes](auto value) {
    bytes.append(reinterpret_cast<const char*>(&value), sizeof(value));
  };
  const auto put_text = [&](const std::string& text) {
    put(std::uint64_t{text.size()});
    bytes += text;
  };
  const auto put_u16 = [&](const std::string& key, std::uint16_t value) {
    put_text(key);
    put(std::uint32_t{2});
    put(value);
  };
  put(std::uint32_t{3});
  put(std::uint64_t{1});
  put(std::uint64_t{2});
  put_u16("split.no", index);
  put_u16("split.count", count);
  put_text(tensor);
  put(std::uint32_t{1});
  put(std::uint64_t{8});
  put(std::uint32_t{0});
  put(std::uint64_t{0});
  bytes.resize((bytes.size() + 31) / 32 * 32 + 32);
  return bytes;
}

TEST(ModelSourceGguf, SplitFilesAreJoined) {
  const fs::path folder = tutti::testing::make_temp_dir();
  const fs::path first = folder / "m-00001-of-00002.gguf";
  const fs::path second = folder / "m-00002-of-00002.gguf";
  write_text(first, split_part(0, 2, "a"));
  EXPECT_THAT(ModelSource::open(first).status().message(), HasSubstr("m-00002-of-00002.gguf: No"));
  write_text(second, split_part(1, 2, "b"));
  const auto source = ModelSource::open(first);
  ASSERT_TRUE(source.ok()) << source.status().message();
  EXPECT_NE(source->find_tensor("a"), nullptr);
  EXPECT_NE(source->find_tensor("b"), nullptr);

  EXPECT_THAT(ModelSource::open(second).status().message(), HasSubstr("name its first part"));
  write_text(second, split_part(1, 3, "b"));
  EXPECT_THAT(ModelSource::open(first).status().message(),
              HasSubstr("says it is part 2 of 3, must be 2 of 2"));
  write_text(second, split_part(1, 2, "a"));
  EXPECT_THAT(ModelSource::open(first).status().message(),
              HasSubstr("tensor a occurs in two of its files"));
  write_text(folder / "renamed.gguf", split_part(0, 2, "a"));
  EXPECT_THAT(ModelSource::open(folder / "renamed.gguf").status().message(),
              HasSubstr("its name must end in -00001-of-00002.gguf"));
  write_text(folder / "renamed.gguf", split_part(0, 65535, "a"));
  EXPECT_THAT(ModelSource::open(folder / "renamed.gguf").status().message(),
              HasSubstr("\"split.count\" is 65535, must be at most 1000"));
}

TEST(ModelSourceGoldens, EveryFolderOpens) {
  std::vector<fs::path> folders = tutti::testing::golden_entries("models");
  folders.push_back(tutti::testing::demo_model_dir());
  for (const fs::path& folder : folders) {
    const auto source = ModelSource::open(folder);
    ASSERT_TRUE(source.ok()) << source.status().message();
    EXPECT_TRUE(source->config().contains("model_type")) << folder;
    EXPECT_FALSE(source->tensors().empty()) << folder;
    EXPECT_TRUE(source->generation_config().warnings.empty())
        << folder << ": " << source->generation_config().warnings.front();
  }
}

}  // namespace
}  // namespace tutti::formats
