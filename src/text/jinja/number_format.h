// Numbers and strings laid out by a format specification, shared by %, str.format and filters.
#pragma once

#include <string>
#include <string_view>

#include "text/jinja/machine.h"

namespace tutti::text::jinja {

// [[fill]align][sign][#][0][width][grouping][.precision][type]
struct FormatSpecification {
  std::string fill = " ";
  char align = 0;  // '<', '>', '^', '=' or none
  char sign = '-';
  bool is_alternate = false;
  int width = 0;
  char grouping = 0;  // ',' or '_'
  int precision = -1;
  char type = 0;
};

// Bounds of width and precision, so that a short template cannot ask for much.
inline constexpr int kMaxFormatWidth = 1 << 20;
inline constexpr int kMaxFormatPrecision = 1000;

// Digits of a number without padding, its sign apart.
struct FormattedNumber {
  std::string sign;    // "", "-", "+", " "
  std::string prefix;  // "0x" …
  std::string digits;
};
FormattedNumber format_integer(Integer value, const FormatSpecification& specification);
FormattedNumber format_real(double value, const FormatSpecification& specification);
Text pad_number(Machine& machine, const FormattedNumber& number,
                const FormatSpecification& specification);
Text pad_string(Machine& machine, const Text& text, const FormatSpecification& specification);

}  // namespace tutti::text::jinja
