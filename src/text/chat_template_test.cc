#include "text/chat_template.h"

#include <gtest/gtest.h>

#include <ctime>

#include "base/file.h"
#include "base/json.h"
#include "tests/support/goldens.h"

namespace tutti::text {
namespace {

// 2026-11-22 12:00:00 in local time, as the goldens have it.
RenderOptions golden_options() {
  std::tm time{};
  time.tm_year = 126;
  time.tm_mon = 10;
  time.tm_mday = 22;
  time.tm_hour = 12;
  time.tm_isdst = -1;
  RenderOptions options;
  options.now = std::chrono::system_clock::from_time_t(std::mktime(&time));
  return options;
}

std::string text_of(const json::value& value) { return std::string(value.as_string()); }

json::value read_json(const std::filesystem::path& path) {
  auto text = read_file(path, std::size_t{64} << 20);
  EXPECT_TRUE(text.ok()) << path;
  auto parsed = parse_json(*text);
  EXPECT_TRUE(parsed.ok()) << path << ": " << parsed.status().message();
  return *parsed;
}

Result<RenderedPrompt> render(const std::string& source, const char* variables = "{}") {
  auto parsed = ChatTemplate::parse(source);
  if (!parsed.ok()) return parsed.status();
  return parsed->render(parse_json(variables)->as_object(), golden_options());
}

std::string error_of(const std::string& source, const char* variables = "{}") {
  const auto rendered = render(source, variables);
  return rendered.ok() ? "no error: " + rendered->text : rendered.status().message();
}

// What a row of the goldens asks for: `expected`; `lenient` where the reference fails by accident;
// the template's message where it refuses; otherwise an error or a better answer.
void check_row(const ChatTemplate& chat_template, const json::object& row,
               const std::string& context) {
  const auto prompt = chat_template.render(row.at("input").as_object(), golden_options());
  const auto* expected = row.if_contains("expected");
  if (expected == nullptr) expected = row.if_contains("lenient");
  if (expected != nullptr) {
    ASSERT_TRUE(prompt.ok()) << context << ": " << prompt.status().message();
    EXPECT_EQ(prompt->text, text_of(*expected)) << context;
    return;
  }
  const std::string error = text_of(row.at("error"));
  const std::string refusal = "TemplateError: ";
  if (!error.starts_with(refusal)) {
    EXPECT_TRUE(prompt.ok() || !prompt.status().message().empty()) << context;
    return;
  }
  ASSERT_FALSE(prompt.ok()) << context;
  EXPECT_EQ(prompt.status().message(), error.substr(refusal.size())) << context;
}

TEST(ChatTemplateGoldens, EveryTemplateRendersAsInTransformers) {
  int num_rows = 0;
  for (const auto& path : testing::golden_entries("text/templates")) {
    if (path.extension() != ".jinja") continue;
    auto source = read_file(path, 1 << 20);
    ASSERT_TRUE(source.ok()) << path;
    auto chat_template = ChatTemplate::parse(*source);
    ASSERT_TRUE(chat_template.ok()) << path << ": " << chat_template.status().message();
    auto golden = path;
    golden.replace_extension(".golden.json");
    const json::value rows = read_json(golden);
    for (const auto& row : rows.as_array()) {
      check_row(*chat_template, row.as_object(),
                path.stem().string() + " / " + text_of(row.at("case")));
      ++num_rows;
    }
  }
  EXPECT_GE(num_rows, 28 * 22);
}

}  // namespace
}  // namespace tutti::text
