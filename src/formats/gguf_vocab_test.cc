#include "formats/gguf_vocab.h"

#include <gtest/gtest.h>

#include <boost/json/serialize.hpp>
#include <boost/json/value_to.hpp>

#include "base/file.h"
#include "base/json.h"
#include "tests/support/goldens.h"
#include "text/tokenizer.h"

namespace tutti::formats {
namespace {

using text::Tokenizer;

std::vector<std::int32_t> int_list(const json::value& value) {
  return json::value_to<std::vector<std::int32_t>>(value);
}

TEST(GgufVocabTest, IdsEqualTheGoldens) {
  int num_rows = 0;
  for (const auto& path : testing::golden_entries("text/gguf-vocab")) {
    if (path.extension() != ".gguf") continue;
    SCOPED_TRACE(path.filename());
    const Result<GgufFile> file = GgufFile::open(path);
    ASSERT_TRUE(file.ok()) << file.status().message();
    Result<text::TokenizerSpec> spec = gguf_vocab(*file);
    ASSERT_TRUE(spec.ok()) << spec.status().message();
    const Result<std::unique_ptr<Tokenizer>> created = Tokenizer::create(std::move(*spec));
    ASSERT_TRUE(created.ok()) << created.status().message();
    const Tokenizer& tokenizer = **created;

    auto golden_file = path;
    golden_file.replace_extension(".golden.json");
    const Result<std::string> golden = read_file(golden_file, std::size_t{64} << 20);
    ASSERT_TRUE(golden.ok()) << golden.status().message();
    const Result<json::value> rows = parse_json(*golden);
    ASSERT_TRUE(rows.ok()) << rows.status().message();
    for (const json::value& row : rows->as_array()) {
      const std::string text(std::string_view(row.at("text").as_string()));
      const bool parse_special = row.at("parse_special").as_bool();
      SCOPED_TRACE(json::serialize(row.at("text")) + (parse_special ? " special" : " plain"));
      EXPECT_EQ(tokenizer.encode(text, {.parse_special = parse_special}), int_list(row.at("ids")));
      EXPECT_EQ(
          tokenizer.encode(text, {.add_special_tokens = false, .parse_special = parse_special}),
          int_list(row.at("ids_without_special")));
      ++num_rows;
    }
  }
  EXPECT_GT(num_rows, 300);
}

}  // namespace
}  // namespace tutti::formats
