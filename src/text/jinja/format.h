// Values as text: repr, JSON, printf-style and str.format formatting, dates.
#pragma once

#include <ctime>
#include <optional>
#include <string>
#include <string_view>

#include "text/jinja/machine.h"

namespace tutti::text::jinja {

std::string integer_text(Integer value);
// repr of a float: the shortest digits that read back as the same number, "1.0", "1e+16", "nan".
std::string real_text(double value);

// repr(value).
void append_repr(Machine& machine, TextBuilder& out, const Value& value, int depth = 0);

struct JsonOptions {
  bool ensure_ascii = false;
  bool sort_keys = false;
  bool escape_html = false;    // < > & as \u003c and so on, as Go does
  std::optional<Text> indent;  // of one level; nullopt: all on one line
  Text item_separator = Text::literal(", ");
  Text key_separator = Text::literal(": ");
};
// json.dumps(value). An iterator is written as a list, where Python would refuse.
void append_json(Machine& machine, TextBuilder& out, const Value& value, const JsonOptions& options,
                 int depth = 0);

// `format % values`.
Text format_percent(Machine& machine, const Text& format, const Value& values);
// format.format(*arguments).
Text format_braces(Machine& machine, const Text& format, const Arguments& arguments);
// format(value, specification), of a number or a string.
Text format_value(Machine& machine, const Value& value, std::string_view specification);

// time.strftime with the C locale, for the directives that C and Python have in common.
std::string format_time(const std::tm& time, const std::string& format);

}  // namespace tutti::text::jinja
