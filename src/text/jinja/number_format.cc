#include "text/jinja/number_format.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "text/jinja/arguments.h"
#include "text/jinja/format.h"
#include "text/jinja/unicode.h"

namespace tutti::text::jinja {
namespace {

std::string sign_text(bool is_negative, char sign) {
  if (is_negative) return "-";
  return sign == '-' ? "" : std::string(1, sign);
}

void group_digits(std::string& digits, char separator, std::size_t size) {
  std::size_t end = digits.find_first_not_of("0123456789abcdefABCDEF");
  if (end == std::string::npos) end = digits.size();
  while (end > size) {
    end -= size;
    digits.insert(end, 1, separator);
  }
}

std::string in_base(Integer value, int base) {
  if (base == 10) return integer_text(value);
  std::string digits;
  do {
    digits.push_back("0123456789abcdef"[static_cast<int>(value % base)]);
    value /= base;
  } while (value != 0);
  std::reverse(digits.begin(), digits.end());
  return digits;
}

std::string to_digits(double value, std::chars_format format, int precision) {
  std::array<char, 1500> buffer;
  const auto end =
      std::to_chars(buffer.data(), buffer.data() + buffer.size(), value, format, precision).ptr;
  return std::string(buffer.data(), end);
}

// str() of a float, in `precision` significant digits when given.
std::string general_digits(double value, int precision) {
  if (precision < 0) return real_text(value);
  const std::string digits = to_digits(value, std::chars_format::general, std::max(precision, 1));
  return digits.find_first_of(".e") == std::string::npos ? digits + ".0" : digits;
}

void to_upper(std::string& text) {
  for (char& c : text) {
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  }
}

}  // namespace

FormattedNumber format_integer(Integer value, const FormatSpecification& specification) {
  FormattedNumber out;
  const bool is_negative = value < 0;
  out.sign = sign_text(is_negative, specification.sign);
  const char type = specification.type;
  const int base = type == 'x' || type == 'X' ? 16 : type == 'o' ? 8 : type == 'b' ? 2 : 10;
  if (base != 10 && is_negative && value == -value) fail("integer too large");
  out.digits = in_base(is_negative && base != 10 ? -value : value, base);
  if (base == 10 && is_negative) out.digits.erase(0, 1);
  if (type == 'X') to_upper(out.digits);
  if (specification.is_alternate && base != 10) out.prefix = std::string("0") + type;
  if (specification.grouping != 0) {
    group_digits(out.digits, specification.grouping, base == 10 ? 3 : 4);
  }
  return out;
}

FormattedNumber format_real(double value, const FormatSpecification& specification) {
  FormattedNumber out;
  const bool is_negative = std::signbit(value) && !std::isnan(value);
  out.sign = sign_text(is_negative, specification.sign);
  double magnitude = std::fabs(value);
  const char type = static_cast<char>(specification.type | 0x20);
  const int precision = specification.precision < 0 ? 6 : specification.precision;
  const bool is_percent = specification.type == '%';
  if (is_percent) magnitude *= 100;
  if (std::isnan(magnitude) || std::isinf(magnitude)) {
    out.digits = std::isnan(magnitude) ? "nan" : "inf";
  } else if (type == 'f' || is_percent) {
    out.digits = to_digits(magnitude, std::chars_format::fixed, precision);
  } else if (type == 'e') {
    out.digits = to_digits(magnitude, std::chars_format::scientific, precision);
  } else if (type == 'g' || type == 'n') {
    out.digits = to_digits(magnitude, std::chars_format::general, std::max(precision, 1));
  } else {
    out.digits = general_digits(magnitude, specification.precision);
  }
  if (is_percent) out.digits += "%";
  if (specification.type >= 'A' && specification.type <= 'Z') to_upper(out.digits);
  if (specification.grouping != 0) group_digits(out.digits, specification.grouping, 3);
  return out;
}

Text pad_number(Machine& machine, const FormattedNumber& number,
                const FormatSpecification& specification) {
  const std::size_t size = number.sign.size() + number.prefix.size() + number.digits.size();
  const auto width = static_cast<std::size_t>(specification.width);
  if (specification.align != '=' || width <= size) {
    FormatSpecification outer = specification;
    if (outer.align == 0) outer.align = '>';
    if (outer.align == '=') outer.align = '>';
    outer.precision = -1;
    return pad_string(
        machine, Text::make(machine.budget(), number.sign + number.prefix + number.digits, false),
        outer);
  }
  TextBuilder out(machine.budget());
  out.append_template(fmt::format("{}{}", number.sign, number.prefix));
  for (std::size_t i = size; i < width; ++i) out.append_template(specification.fill);
  out.append_template(number.digits);
  return out.finish();
}

Text pad_string(Machine& machine, const Text& text, const FormatSpecification& specification) {
  Text shown = text;
  if (specification.precision >= 0) {
    const std::size_t end =
        byte_of_code_point(text.view(), static_cast<std::size_t>(specification.precision));
    shown = slice_text(machine.budget(), text, 0, end);
  }
  if (specification.width == 0) return shown;
  machine.budget().spend_for_bytes(shown.size());
  const std::size_t size = count_code_points(shown.view());
  const auto width = static_cast<std::size_t>(specification.width);
  if (size >= width) return shown;
  const std::size_t padding = width - size;
  std::size_t left = 0;
  if (specification.align == '>' || specification.align == '=') left = padding;
  if (specification.align == '^') left = padding / 2;
  return pad_text(machine.budget(), shown, left, padding - left,
                  Text::make(machine.budget(), specification.fill, false));
}

}  // namespace tutti::text::jinja
