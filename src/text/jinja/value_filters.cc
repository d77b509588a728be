// Filters of numbers, JSON, and of any value.
#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <limits>

#include "text/jinja/arguments.h"
#include "text/jinja/filter_table.h"
#include "text/jinja/format.h"
#include "text/jinja/objects.h"
#include "text/jinja/operators.h"

namespace tutti::text::jinja {
namespace {

Value absolute(Machine&, const Value& input, const Arguments&) {
  require_defined(input);
  if (input.is_integral()) {
    const Integer value = input.as_integer();
    return value < 0 ? negate(input) : Value::integer(value);
  }
  if (input.is_number()) return Value::real(std::fabs(input.as_real()));
  fail("bad operand type for abs(): '{}'", type_name(input));
}

Value attr(Machine& machine, const Value& input, const Arguments& arguments) {
  const Parameters parameters(machine, "attr", arguments, {"name"});
  const Text name = parameters.text(0, "");
  if (input.is(Kind::kDict)) {
    // Only attributes, never items.
    Value method = machine.attribute(Value::object(machine.heap().dict()), name);
    if (method.is_undefined()) return method;
  }
  return machine.attribute(input, name);
}

Value default_value(Machine& machine, const Value& input, const Arguments& arguments) {
  const Parameters parameters(machine, "default", arguments, {"default_value", "boolean"});
  const bool replaces = input.is_undefined() || (parameters.boolean(1, false) && !truthy(input));
  if (!replaces) return input;
  return parameters.has(0) ? parameters.value(0) : Value::string(Text());
}

// int() of a string: an optional sign, a prefix of the base, digits with single underscores.
std::optional<Integer> parse_integer(std::string_view text, int base) {
  const StripRange range = strip_range(text, StripSide::kBoth);
  text = text.substr(range.begin, range.end - range.begin);
  bool is_negative = false;
  if (!text.empty() && (text[0] == '-' || text[0] == '+')) {
    is_negative = text[0] == '-';
    text.remove_prefix(1);
  }
  if (text.size() > 2 && text[0] == '0') {
    const char mark = static_cast<char>(text[1] | 0x20);
    const int marked = mark == 'x' ? 16 : mark == 'o' ? 8 : mark == 'b' ? 2 : 0;
    if (marked != 0 && (base == marked || base == 0)) {
      base = marked;
      text.remove_prefix(2);
      if (text[0] == '_') text.remove_prefix(1);
    }
  }
  if (base == 0) base = 10;
  Integer value = 0;
  bool may_underscore = false;
  for (const char c : text) {
    if (c == '_' && may_underscore) {
      may_underscore = false;
      continue;
    }
    const int digit = c >= '0' && c <= '9'   ? c - '0'
                      : c >= 'a' && c <= 'z' ? c - 'a' + 10
                      : c >= 'A' && c <= 'Z' ? c - 'A' + 10
                                             : 99;
    if (digit >= base) return std::nullopt;
    if (__builtin_mul_overflow(value, static_cast<Integer>(base), &value) ||
        __builtin_add_overflow(value, static_cast<Integer>(digit), &value)) {
      fail("integer too large");
    }
    may_underscore = true;
  }
  if (!may_underscore) return std::nullopt;
  return is_negative ? -value : value;
}

// float() of a string.
std::optional<double> parse_real(std::string_view text) {
  const StripRange range = strip_range(text, StripSide::kBoth);
  std::string plain(text.substr(range.begin, range.end - range.begin));
  std::erase(plain, '_');
  std::string_view digits = plain;
  if (digits.starts_with('+')) digits.remove_prefix(1);
  if (digits.empty() || digits.starts_with('+')) return std::nullopt;
  double value = 0;
  const auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (parsed.ptr != digits.data() + digits.size()) return std::nullopt;
  if (parsed.ec == std::errc::result_out_of_range) {
    return digits.starts_with('-') ? -std::numeric_limits<double>::infinity()
                                   : std::numeric_limits<double>::infinity();
  }
  return parsed.ec == std::errc() ? std::optional(value) : std::nullopt;
}

std::optional<Integer> truncate_real(double value) {
  if (!(std::fabs(value) < 1e38)) return std::nullopt;
  return static_cast<Integer>(value);
}

Value to_integer(Machine& machine, const Value& input, const Arguments& arguments) {
  const Parameters parameters(machine, "int", arguments, {"default", "base"});
  require_defined(input);
  std::optional<Integer> value;
  if (input.is_integral()) {
    value = input.as_integer();
  } else if (input.is_number()) {
    value = truncate_real(input.as_real());
  } else if (input.is_string()) {
    value = parse_integer(input.view(), parameters.small_integer(1, 10));
    if (!value) {
      const auto real = parse_real(input.view());
      if (real) value = truncate_real(*real);
    }
  }
  return value ? Value::integer(*value) : parameters.value(0, Value::integer(0));
}

Value to_real(Machine& machine, const Value& input, const Arguments& arguments) {
  const Parameters parameters(machine, "float", arguments, {"default"});
  require_defined(input);
  if (input.is_number()) return Value::real(input.as_real());
  const auto value = input.is_string() ? parse_real(input.view()) : std::nullopt;
  return value ? Value::real(*value) : parameters.value(0, Value::real(0.0));
}

Value round(Machine& machine, const Value& input, const Arguments& arguments) {
  const Parameters parameters(machine, "round", arguments, {"precision", "method"});
  require_defined(input);
  if (!input.is_number()) {
    fail("type {} doesn't define __round__ method", type_name(input));
  }
  const int precision = parameters.small_integer(0, 0);
  const Text method = parameters.text(1, "common");
  if (method.view() == "common") {
    if (input.is_integral() && precision >= 0) return Value::integer(input.as_integer());
    if (input.is_integral()) {
      const auto rounded = truncate_real(round_to(input.as_real(), precision));
      return Value::integer(rounded.value_or(0));
    }
    return Value::real(round_to(input.as_real(), precision));
  }
  const double scale = std::pow(10.0, precision);
  const double scaled = input.as_real() * scale;
  if (method.view() == "ceil") return Value::real(std::ceil(scaled) / scale);
  if (method.view() == "floor") return Value::real(std::floor(scaled) / scale);
  fail("method must be common, ceil or floor");
}

Value filesizeformat(Machine& machine, const Value& input, const Arguments& arguments) {
  const Parameters parameters(machine, "filesizeformat", arguments, {"binary"});
  const bool binary = parameters.boolean(0, false);
  const double bytes = to_real(machine, input, {}).as_real();
  const double base = binary ? 1024 : 1000;
  if (bytes == 1) return machine.heap().string("1 Byte");
  if (bytes < base) {
    return machine.heap().string(integer_text(static_cast<Integer>(bytes)) + " Bytes");
  }
  static constexpr std::string_view kPrefixes = "KMGTPEZY";
  double unit = base;
  std::size_t i = 0;
  while (i + 1 < kPrefixes.size() && bytes >= unit * base) {
    unit *= base;
    ++i;
  }
  const std::string prefix = i == 0 && !binary ? "k" : std::string(1, kPrefixes[i]);
  const Text digits = format_value(machine, Value::real(bytes / unit), ".1f");
  return machine.heap().string(std::string(digits.view()) + " " + prefix + (binary ? "iB" : "B"));
}

Value to_json(Machine& machine, const Value& input, const Arguments& arguments) {
  const Parameters parameters(machine, "tojson", arguments,
                              {"ensure_ascii", "indent", "separators", "sort_keys"});
  JsonOptions options;
  options.ensure_ascii = parameters.boolean(0, false);
  options.sort_keys = parameters.boolean(3, false);
  if (parameters.has_value(1)) {
    const Value indent = parameters.value(1);
    const int width = indent.is_string() ? 0 : std::clamp(parameters.small_integer(1, 0), 0, 1024);
    options.indent = indent.is_string()
                         ? indent.as_text()
                         : Text::literal(std::string(static_cast<std::size_t>(width), ' '));
    options.item_separator = Text::literal(",");
  }
  if (parameters.has_value(2)) {
    const std::vector<Value> separators = machine.iterate(parameters.value(2));
    if (separators.size() != 2) fail("separators must be a pair of strings");
    options.item_separator = machine.to_text(separators[0]);
    options.key_separator = machine.to_text(separators[1]);
  }
  TextBuilder out(machine.budget(), machine.max_output_bytes());
  append_json(machine, out, input, options);
  return Value::string(out.finish());
}

Value length(Machine& machine, const Value& input, const Arguments&) {
  if (auto count = machine.length(input)) return Value::integer(static_cast<Integer>(*count));
  if (input.is(Kind::kOther)) {
    // An iterator: its items are counted and stay.
    if (auto* iterator = dynamic_cast<IteratorObject*>(input.as_object())) {
      return Value::integer(static_cast<Integer>(iterator->remaining(machine)));
    }
  }
  fail("object of type '{}' has no len()", type_name(input));
}

constexpr std::array kValueFilters = {
    NamedFilter{"abs", absolute},          NamedFilter{"attr", attr},
    NamedFilter{"count", length},          NamedFilter{"d", default_value},
    NamedFilter{"default", default_value}, NamedFilter{"filesizeformat", filesizeformat},
    NamedFilter{"float", to_real},         NamedFilter{"int", to_integer},
    NamedFilter{"length", length},         NamedFilter{"round", round},
    NamedFilter{"tojson", to_json},
};

}  // namespace

std::span<const NamedFilter> value_filters() { return kValueFilters; }

}  // namespace tutti::text::jinja
