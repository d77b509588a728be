#include "formats/tokenizer_json.h"

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

json::value read_json(const std::filesystem::path& path) {
  const Result<std::string> bytes = read_file(path, std::size_t{64} << 20);
  TUTTI_CHECK(bytes.ok()) << bytes.status().message();
  Result<json::value> value = parse_json(*bytes);
  TUTTI_CHECK(value.ok()) << path << ": " << value.status().message();
  return std::move(*value);
}

std::unique_ptr<Tokenizer> load(const std::filesystem::path& folder) {
  const Result<std::string> bytes = read_file(folder / "tokenizer.json", std::size_t{64} << 20);
  TUTTI_CHECK(bytes.ok()) << bytes.status().message();
  Result<text::TokenizerSpec> spec = parse_tokenizer_json(*bytes);
  TUTTI_CHECK(spec.ok()) << folder << ": " << spec.status().message();
  Result<std::unique_ptr<Tokenizer>> tokenizer = Tokenizer::create(std::move(*spec));
  TUTTI_CHECK(tokenizer.ok()) << folder << ": " << tokenizer.status().message();
  return std::move(*tokenizer);
}

std::vector<std::int32_t> int_list(const json::value& value) {
  return json::value_to<std::vector<std::int32_t>>(value);
}

std::string string_of(const json::value& value) {
  return std::string(std::string_view(value.as_string()));
}

TEST(TokenizerJsonTest, IdsAndTextEqualTheGoldens) {
  int num_rows = 0;
  for (const auto& folder : testing::golden_entries("text/tokenizers")) {
    SCOPED_TRACE(folder.filename());
    const std::unique_ptr<Tokenizer> tokenizer = load(folder);
    const json::value rows = read_json(folder / "golden.json");
    for (const json::value& row : rows.as_array()) {
      const std::string text = string_of(row.at("text"));
      SCOPED_TRACE(json::serialize(row.at("text")));
      const std::vector<std::int32_t> ids = int_list(row.at("ids"));
      EXPECT_EQ(tokenizer->encode(text), ids);
      EXPECT_EQ(tokenizer->encode(text, {.add_special_tokens = false}),
                int_list(row.at("ids_without_special")));
      EXPECT_EQ(tokenizer->decode(ids, true), string_of(row.at("decoded")));
      EXPECT_EQ(tokenizer->decode(ids, false), string_of(row.at("decoded_with_special")));
      ++num_rows;
    }
  }
  EXPECT_GT(num_rows, 500);
}

TEST(TokenizerJsonTest, PairsEqualTheGoldens) {
  int num_rows = 0;
  for (const auto& folder : testing::golden_entries("text/tokenizers")) {
    if (!std::filesystem::exists(folder / "pairs.json")) continue;
    SCOPED_TRACE(folder.filename());
    const std::unique_ptr<Tokenizer> tokenizer = load(folder);
    const json::value rows = read_json(folder / "pairs.json");
    for (const json::value& row : rows.as_array()) {
      const text::PairEncoding encoding =
          tokenizer->encode_pair(string_of(row.at("first")), string_of(row.at("second")));
      EXPECT_EQ(encoding.ids, int_list(row.at("ids")));
      EXPECT_EQ(encoding.type_ids, int_list(row.at("type_ids")));
      ++num_rows;
    }
  }
  EXPECT_GT(num_rows, 10);
}

}  // namespace
}  // namespace tutti::formats
