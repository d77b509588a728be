#include <fmt/format.h>

#include "formats/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/goldens.h"
#include "tests/support/write_text.h"

namespace tutti::formats {
namespace {
namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

TensorView view(std::string name, DType dtype, std::vector<std::int64_t> shape,
                std::string_view bytes) {
  return {std::move(name), dtype, std::move(shape), std::as_bytes(std::span(bytes))};
}

// A file with one tensor of one byte.
void write_shard(const fs::path& path, const std::string& tensor) {
  ASSERT_TRUE(write_safetensors(path, std::vector{view(tensor, DType::kU8, {1}, "x")}).ok());
}

TEST(Safetensors, ReadsWhatTheSeedHolds) {
  const auto file = SafetensorsFile::open(tutti::testing::goldens_dir().parent_path() /
                                          "fuzz/corpus/safetensors/valid.safetensors");
  ASSERT_TRUE(file.ok()) << file.status().message();
  std::vector<std::string> names;
  for (const TensorView& tensor : file->tensors()) names.push_back(tensor.name);
  EXPECT_THAT(names, ElementsAre("a", "b", "c", "none", "fp8"));
  const TensorView* b = file->find_tensor("b");
  ASSERT_NE(b, nullptr);
  EXPECT_EQ(b->dtype, DType::kBF16);
  EXPECT_THAT(b->shape, ElementsAre(2, 2));
  EXPECT_EQ(std::to_integer<int>(b->bytes[0]), 8);
  EXPECT_EQ(b->bytes.size(), 8u);
  EXPECT_EQ(file->find_tensor("c")->num_values(), 1);
  EXPECT_EQ(file->find_tensor("none")->num_values(), 0);
  EXPECT_EQ(file->find_tensor("absent"), nullptr);
  EXPECT_EQ(file->metadata().at("format"), "pt");
}

TEST(Safetensors, WrittenFilesReadBack) {
  const fs::path path = tutti::testing::make_temp_dir() / "out.safetensors";
  const std::vector<TensorView> tensors = {view("logits", DType::kF32, {2, 1}, "01234567"),
                                           view("an \"odd\" name", DType::kI32, {}, "abcd"),
                                           view("none", DType::kF16, {0, 3}, "")};
  ASSERT_TRUE(write_safetensors(path, tensors).ok());
  const auto file = SafetensorsFile::open(path);
  ASSERT_TRUE(file.ok()) << file.status().message();
  ASSERT_EQ(file->tensors().size(), tensors.size());
  for (const TensorView& tensor : tensors) {
    const TensorView* read = file->find_tensor(tensor.name);
    ASSERT_NE(read, nullptr) << tensor.name;
    EXPECT_EQ(read->dtype, tensor.dtype);
    EXPECT_EQ(read->shape, tensor.shape);
    EXPECT_TRUE(std::ranges::equal(read->bytes, tensor.bytes));
  }
  const auto* buffer = file->tensors().front().bytes.data();
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(buffer) % 8, 0u);
}

TEST(Safetensors, WritingToNowhereIsAnError) {
  EXPECT_FALSE(write_safetensors("/nonexistent/out.safetensors", {}).ok());
}

class SafetensorsSetTest : public ::testing::Test {
 protected:
  void write_index(std::string_view weight_map) {
    write_text(folder_ / "model.safetensors.index.json",
               fmt::format(R"({{"metadata": {{}}, "weight_map": {}}})", weight_map));
  }
  std::string error() {
    const auto set = SafetensorsSet::open(folder_);
    return set.ok() ? "opened" : set.status().message();
  }
  fs::path folder_ = tutti::testing::make_temp_dir();
};

TEST_F(SafetensorsSetTest, ShardsAreJoined) {
  write_shard(folder_ / "model-00001-of-00002.safetensors", "a");
  write_shard(folder_ / "model-00002-of-00002.safetensors", "b");
  write_index(
      R"({"b": "model-00002-of-00002.safetensors", "a": "model-00001-of-00002.safetensors"})");
  const auto set = SafetensorsSet::open(folder_);
  ASSERT_TRUE(set.ok()) << set.status().message();
  EXPECT_EQ(set->files().size(), 2u);
  EXPECT_EQ(set->tensors().size(), 2u);
}

TEST_F(SafetensorsSetTest, ShardsMayBeLinks) {
  const fs::path blobs = tutti::testing::make_temp_dir();
  write_shard(blobs / "0123abcd", "a");
  fs::create_symlink(blobs / "0123abcd", folder_ / "model.safetensors");
  EXPECT_EQ(error(), "opened");
}

TEST_F(SafetensorsSetTest, NamesWithPathsAreRefused) {
  for (const char* name :
       {"../x.safetensors", "/etc/x.safetensors", "a/b.safetensors", R"(..\\x.safetensors)",
        R"(c:x.safetensors)", "..", "", ".safetensors", R"(x\u0000.safetensors)", "model.bin"}) {
    write_index(fmt::format(R"({{"a": "{}"}})", name));
    EXPECT_THAT(error(), HasSubstr("tensor a must name a .safetensors file of this folder"))
        << name;
  }
}

TEST_F(SafetensorsSetTest, IndexAndShardsMustAgree) {
  write_index(R"({"a": "x.safetensors"})");
  EXPECT_THAT(error(), HasSubstr("x.safetensors: No such file"));
  write_shard(folder_ / "x.safetensors", "b");
  EXPECT_THAT(error(), HasSubstr("tensor a is not in x.safetensors"));
  write_index("[]");
  EXPECT_THAT(error(), HasSubstr("weight_map must be an object"));
  write_index(R"({"a": 1})");
  EXPECT_THAT(error(), HasSubstr("tensor a must name"));
  write_index("{");
  EXPECT_THAT(error(), HasSubstr("index.json: invalid JSON"));
}

TEST_F(SafetensorsSetTest, PickledWeightsAreRefusedByName) {
  EXPECT_THAT(error(), HasSubstr("neither model.safetensors nor model.safetensors.index.json"));
  write_text(folder_ / "pytorch_model.bin", "\x80\x04.");
  EXPECT_THAT(error(), HasSubstr("pytorch_model.bin: pickled weights run code"));
  write_shard(folder_ / "model.safetensors", "a");
  EXPECT_EQ(error(), "opened");
}

}  // namespace
}  // namespace tutti::formats
