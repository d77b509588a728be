// Properties of every row of every table: what the documentation says a field takes is what the
// parser takes, and what lies beyond is refused with a message that names the field.
#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <cmath>

#include "dialects/field_reader.h"
#include "dialects/ollama_fields.h"
#include "dialects/openai_fields.h"
#include "dialects/utf8.h"

namespace tutti::dialects {
namespace {

// The numbers of "number in (0, 1]" and "integer in [1, 128]".
struct Bounds {
  bool is_integer = false;
  bool min_is_open = false;
  double min = 0, max = 0;
};

std::optional<Bounds> parse_bounds(const std::string& values) {
  Bounds bounds;
  char bracket = 0;
  if (values == "integer of 64 bits") {
    return Bounds{true, false, -9223372036854775808.0, 9223372036854774784.0};
  }
  if (std::sscanf(values.c_str(), "number in %c%lf, %lf]", &bracket, &bounds.min, &bounds.max) !=
          3 &&
      std::sscanf(values.c_str(), "integer in %c%lf, %lf]", &bracket, &bounds.min, &bounds.max) !=
          3) {
    return std::nullopt;
  }
  bounds.is_integer = values.starts_with("integer");
  bounds.min_is_open = bracket == '(';
  return bounds;
}

template <typename Draft>
Status read_one(const Field<Draft>& field, const json::value& value) {
  Draft draft;
  return read_fields(json::object{{field.doc.name, value}}, {field}, "", draft);
}

template <typename Draft>
void expect_refused(const Field<Draft>& field, const json::value& value, ErrorKind kind) {
  const Status status = read_one(field, value);
  ASSERT_FALSE(status.ok()) << field.doc.name << " took " << json::serialize(value);
  EXPECT_EQ(status.kind(), kind) << status.message();
  EXPECT_TRUE(status.field().starts_with(field.doc.name)) << status.field();
  EXPECT_NE(status.message().find(field.doc.name), std::string::npos) << status.message();
}

template <typename Draft>
void expect_taken(const Field<Draft>& field, const json::value& value) {
  const Status status = read_one(field, value);
  EXPECT_TRUE(status.ok()) << json::serialize(value) << ": " << status.message();
}

json::value as_json(const Bounds& bounds, double number) {
  if (bounds.is_integer) return static_cast<std::int64_t>(number);
  return number;
}

template <typename Draft>
void check_number(const Field<Draft>& field, const Bounds& bounds) {
  expect_taken(field, as_json(bounds, bounds.max));
  if (bounds.min_is_open) {
    expect_refused(field, as_json(bounds, bounds.min), ErrorKind::kInvalidArgument);
    expect_taken(field, bounds.min + 1e-6);
  } else {
    expect_taken(field, as_json(bounds, bounds.min));
  }
  const bool is_64_bits = bounds.max > 9e18;
  if (!is_64_bits) {
    expect_refused(field, as_json(bounds, bounds.min - 1), ErrorKind::kInvalidArgument);
    expect_refused(field, as_json(bounds, bounds.max + 1), ErrorKind::kInvalidArgument);
    expect_refused(field, std::int64_t{std::numeric_limits<int>::min()},
                   ErrorKind::kInvalidArgument);
    expect_refused(field, std::numeric_limits<std::int64_t>::max(), ErrorKind::kInvalidArgument);
  }
  if (bounds.is_integer) expect_refused(field, 1.5, ErrorKind::kInvalidArgument);
  for (const json::value& hostile :
       {json::value(1e308), json::value(-1e308), json::value(18446744073709551615u),
        json::value(18446744073709551616.0), json::value(std::nan("")), json::value(HUGE_VAL),
        json::value("5"), json::value(true), json::value(json::array{5}),
        json::value(json::object())}) {
    expect_refused(field, hostile, ErrorKind::kInvalidArgument);
  }
}

template <typename Draft>
void check_refused(const Field<Draft>& field) {
  for (const json::value& on : {json::value(json::array{json::object{{"on", 1}}}),
                                json::value("something"), json::value(12345.678)}) {
    expect_refused(field, on, ErrorKind::kUnsupported);
  }
  std::string rest = field.doc.values;
  while (!rest.empty()) {
    const std::size_t end = std::min(rest.find(" | "), rest.size());
    expect_taken(field, json::parse(rest.substr(0, end)));
    rest = end == rest.size() ? "" : rest.substr(end + 3);
  }
}

template <typename Draft>
void check_table(const std::vector<Field<Draft>>& table) {
  std::set<std::string> names;
  for (const Field<Draft>& field : table) {
    SCOPED_TRACE(field.doc.name);
    EXPECT_TRUE(names.insert(field.doc.name).second) << "two rows";
    EXPECT_FALSE(field.doc.meaning.empty());
    expect_taken(field, nullptr);
    if (field.doc.support == Support::kRefused) {
      check_refused(field);
    } else if (const std::optional<Bounds> bounds = parse_bounds(field.doc.values)) {
      check_number(field, *bounds);
    } else if (field.doc.values == "boolean") {
      expect_taken(field, true);
      expect_taken(field, false);
      for (const json::value& wrong : {json::value(1), json::value("true"), json::value(0.0)}) {
        expect_refused(field, wrong, ErrorKind::kInvalidArgument);
      }
    } else {
      // Lists, objects and strings: none of them takes these.
      expect_refused(field, true, ErrorKind::kInvalidArgument);
      expect_refused(field, json::array{json::array{json::array{true}}},
                     ErrorKind::kInvalidArgument);
    }
  }
}

TEST(Fields, OpenAiChatCompletions) { check_table(openai::chat_completion_fields()); }
TEST(Fields, OpenAiCompletions) { check_table(openai::completion_fields()); }
TEST(Fields, OpenAiStreamOptions) { check_table(openai::stream_options_fields()); }
TEST(Fields, OllamaChat) { check_table(ollama::chat_fields()); }
TEST(Fields, OllamaGenerate) { check_table(ollama::generate_fields()); }
TEST(Fields, OllamaOptions) { check_table(ollama::option_fields()); }

TEST(FieldReader, IntegerWithoutAFractionMayBeWrittenWithAPoint) {
  int integer = 0;
  EXPECT_TRUE(read_integer({json::value(5.0), "n"}, {1, 8}, integer).ok());
  EXPECT_EQ(integer, 5);
}

TEST(FieldReader, MessagesSayTheBoundAndWhatCame) {
  double number = 0;
  const Status status = read_number({json::value(2.5), "options.min_p"}, {0, 1}, number);
  EXPECT_EQ(status.message(), "`options.min_p` must be a number in [0, 1], got 2.5");
  EXPECT_EQ(status.field(), "options.min_p");
}

TEST(FieldReader, LongWordsOfTheClientAreCutAtACharacter) {
  std::string key;
  for (int i = 0; i < 1000; ++i) key += "é";
  const Status status = unknown_field("", key);
  EXPECT_LT(status.message().size(), 200u);
  EXPECT_TRUE(parse_json("\"" + status.field() + "\"").ok()) << "not UTF-8";
}

TEST(FieldReader, WordsOfTheClientStayOnOneLineOfTheLog) {
  EXPECT_EQ(unknown_field("options", "a\nb\x1b[2J").field(), "options.a?b?[2J");
}

TEST(Utf8, IllFormedBytesAreReplaced) {
  EXPECT_EQ(well_formed_utf8("aé€😀"), "aé€😀");
  EXPECT_EQ(well_formed_utf8(std::string("\0b", 2)), std::string("\0b", 2));
  const std::string kReplacement = "\uFFFD";
  // Cut short; overlong; a surrogate; beyond U+10FFFF; a lone continuation.
  EXPECT_EQ(well_formed_utf8("x\xE2\x82"), "x" + kReplacement + kReplacement);
  EXPECT_EQ(well_formed_utf8("\xC0\x80"), kReplacement + kReplacement);
  EXPECT_EQ(well_formed_utf8("\xED\xA0\x80"), kReplacement + kReplacement + kReplacement);
  EXPECT_EQ(well_formed_utf8("\xF4\x90\x80\x80").size(), 4 * kReplacement.size());
  EXPECT_EQ(well_formed_utf8("\x80z"), kReplacement + "z");
}

TEST(FieldReader, UnknownFieldsAreNamedWithTheirPath) {
  int draft = 0;
  const Status status = read_fields<int>(json::object{{"foo", 1}}, {}, "stream_options", draft);
  EXPECT_EQ(status.message(), "Unrecognized request argument supplied: stream_options.foo");
}

TEST(FieldReader, IgnoredFieldsAreBounded) {
  json::object many;
  for (int i = 0; i < 1000; ++i) many[std::to_string(i)] = i;
  int draft = 0;
  std::vector<std::string> ignored;
  EXPECT_TRUE(read_fields<int>(many, {}, "options", draft, &ignored).ok());
  EXPECT_EQ(ignored.size(), 16u);
  EXPECT_EQ(ignored[0], "options.0");
}

}  // namespace
}  // namespace tutti::dialects
