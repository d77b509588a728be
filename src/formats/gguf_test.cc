#include "formats/gguf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json/serialize.hpp>

#include "base/json.h"
#include "tests/support/goldens.h"

namespace tutti::formats {
namespace {
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// A file with a value of every type and tensors of five types; tests/fuzz/make_model_corpus.py.
class GgufTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto file = GgufFile::open(tutti::testing::goldens_dir().parent_path() /
                               "fuzz/corpus/gguf/valid_v3.gguf");
    ASSERT_TRUE(file.ok()) << file.status().message();
    file_ = std::move(*file);
  }
  GgufFile file_;
};

TEST_F(GgufTest, HeaderAndKeysInOrder) {
  EXPECT_EQ(file_.version(), 3u);
  EXPECT_EQ(file_.alignment(), 64u);
  ASSERT_GE(file_.keys().size(), 3u);
  EXPECT_EQ(file_.keys()[0], "general.architecture");
  EXPECT_EQ(file_.keys()[2], "u8");
}

TEST_F(GgufTest, IntegersOfEveryWidth) {
  EXPECT_EQ(*file_.get_uint("u8"), 255u);
  EXPECT_EQ(*file_.get_int("i8"), -1);
  EXPECT_EQ(*file_.get_uint("u16"), 65535u);
  EXPECT_EQ(*file_.get_int("i16"), -2);
  EXPECT_EQ(*file_.get_u32("u32"), 4294967295u);
  EXPECT_EQ(*file_.get_int("i32"), -3);
  EXPECT_EQ(*file_.get_uint("u64"), 18446744073709551615u);
  EXPECT_EQ(*file_.get_int("i64"), -4);
}

TEST_F(GgufTest, IntegersOutsideTheAskedRangeAreErrors) {
  EXPECT_THAT(file_.get_uint("i8").status().message(),
              HasSubstr("key \"i8\" is -1, must be 0 or more"));
  EXPECT_THAT(file_.get_u32("u64").status().message(),
              HasSubstr("key \"u64\" is 18446744073709551615, must be in 0..4294967295"));
  EXPECT_THAT(file_.get_int("u64").status().message(), HasSubstr("must be at most 2^63-1"));
  EXPECT_THAT(file_.get_ints("wide").status().message(), HasSubstr("element 0 is 184467440737"));
  EXPECT_THAT(file_.get_uint("f32").status().message(),
              HasSubstr("key \"f32\" is of type f32, must be an integer"));
}

TEST_F(GgufTest, OtherScalars) {
  EXPECT_EQ(*file_.get_float("f32"), 0.5);
  EXPECT_EQ(*file_.get_float("f64"), 1e300);
  EXPECT_EQ(*file_.get_float("i32"), -3.0);
  EXPECT_TRUE(*file_.get_bool("bool"));
  EXPECT_EQ(*file_.get_string("general.architecture"), "llama");
  EXPECT_EQ(*file_.get_string("bytes"), "\xff\xc3\x28");
  EXPECT_FALSE(file_.get_bool("u8").ok());
  EXPECT_FALSE(file_.get_string("tokens").ok());
  EXPECT_FALSE(file_.get_float("scores").ok());
}

TEST_F(GgufTest, MissingKeyIsNotFound) {
  const auto value = file_.get_u32("llama.block_count");
  ASSERT_FALSE(value.ok());
  EXPECT_EQ(value.status().kind(), ErrorKind::kNotFound);
  EXPECT_THAT(value.status().message(), HasSubstr("key \"llama.block_count\" is missing"));
  EXPECT_FALSE(file_.has("llama.block_count"));
}

TEST_F(GgufTest, Arrays) {
  EXPECT_THAT(*file_.get_strings("tokens"), ElementsAre("a", "", "b"));
  EXPECT_THAT(*file_.get_floats("scores"), ElementsAre(0.0f, -1.0f));
  EXPECT_THAT(*file_.get_floats("doubles"), ElementsAre(2.5f));
  EXPECT_THAT(*file_.get_bools("flags"), ElementsAre(false, true));
  EXPECT_EQ(file_.get_ints("types")->size(), 16u);
  EXPECT_EQ(file_.get_ints("types")->at(1), -1);
  EXPECT_TRUE(file_.get_ints("none")->empty());
  EXPECT_FALSE(file_.get_ints("u8").ok());
  EXPECT_FALSE(file_.get_ints("scores").ok());
}

TEST_F(GgufTest, ShapesAreOutermostFirst) {
  const TensorView* tensor = file_.find_tensor("f32");
  ASSERT_NE(tensor, nullptr);
  EXPECT_EQ(tensor->dtype, DType::kF32);
  EXPECT_THAT(tensor->shape, ElementsAre(3, 4));
  EXPECT_EQ(tensor->num_rows(), 3);
  EXPECT_EQ(tensor->bytes.size(), 48u);
  EXPECT_EQ(std::to_integer<int>(tensor->bytes[5]), 5);
  EXPECT_EQ(file_.find_tensor("absent"), nullptr);
}

TEST_F(GgufTest, BlocksAreMeasuredInTheirOwnBytes) {
  EXPECT_EQ(file_.find_tensor("q4_0")->bytes.size(), 2u * 18u);
  EXPECT_EQ(file_.find_tensor("q4_k")->bytes.size(), 144u);
  EXPECT_EQ(file_.find_tensor("q2_k")->bytes.size(), 84u);
  EXPECT_THAT(file_.find_tensor("q2_k")->shape, ElementsAre(1, 1, 1, 256));
}

TEST_F(GgufTest, ValuesForPeople) {
  EXPECT_EQ(json::serialize(file_.value_as_json("u64")), "18446744073709551615");
  EXPECT_EQ(json::serialize(file_.value_as_json("i64")), "-4");
  EXPECT_EQ(json::serialize(file_.value_as_json("bool")), "true");
  EXPECT_EQ(json::serialize(file_.value_as_json("tokens")), R"(["a","","b"])");
  EXPECT_EQ(json::serialize(file_.value_as_json("types", 2)),
            R"({"array_of":"i32","count":16,"first":[1,-1]})");
  EXPECT_EQ(file_.value_as_json("bytes").as_string(), "\xef\xbf\xbd\xef\xbf\xbd(");
  EXPECT_TRUE(file_.value_as_json("absent").is_null());
  for (const std::string& key : file_.keys()) {
    EXPECT_TRUE(parse_json(json::serialize(file_.value_as_json(key))).ok()) << key;
  }
}

TEST(GgufGoldens, EveryFileOpens) {
  int num_files = 0;
  for (const char* folder : {"gguf", "text/gguf-vocab"}) {
    for (const auto& path : tutti::testing::golden_entries(folder)) {
      if (path.extension() != ".gguf") continue;
      const auto file = GgufFile::open(path);
      EXPECT_TRUE(file.ok()) << file.status().message();
      if (file.ok()) {
        EXPECT_TRUE(file->has("general.architecture")) << path;
      }
      ++num_files;
    }
  }
  EXPECT_GT(num_files, 0);
}

}  // namespace
}  // namespace tutti::formats
