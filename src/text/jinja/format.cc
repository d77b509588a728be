// printf-style formatting, str.format, strftime.
#include "text/jinja/format.h"

#include <algorithm>
#include <array>

#include "text/jinja/arguments.h"
#include "text/jinja/number_format.h"
#include "text/jinja/unicode.h"

namespace tutti::text::jinja {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// Digits at `position`, bounded.
int read_number(std::string_view text, std::size_t& position, int limit) {
  int value = 0;
  while (position < text.size() && is_digit(text[position])) {
    value = value * 10 + (text[position++] - '0');
    if (value > limit) fail_limit("a width or precision is too large");
  }
  return value;
}

Text repr_of(Machine& machine, const Value& value) {
  TextBuilder out(machine.budget());
  append_repr(machine, out, value);
  return out.finish();
}

bool is_one_of(char c, std::string_view set) { return set.find(c) != std::string_view::npos; }

// --- printf style ---

class PercentFormatter {
 public:
  PercentFormatter(Machine& machine, const Text& format, const Value& values)
      : machine_(machine), format_(format), values_(values), out_(machine.budget()) {}

  Text run() {
    const std::string_view view = format_.view();
    std::size_t copied = 0;
    while (true) {
      const std::size_t percent = view.find('%', copied);
      if (percent == std::string_view::npos) break;
      out_.append_range(format_, copied, percent);
      position_ = percent + 1;
      convert();
      copied = position_;
    }
    out_.append_range(format_, copied, view.size());
    check_all_used();
    return out_.finish().with_markup(format_.is_markup());
  }

 private:
  char peek() const {
    if (position_ >= format_.size()) fail("incomplete format");
    return format_.view()[position_];
  }

  const Value& next_value() {
    if (values_.is(Kind::kTuple)) {
      const auto& items = values_.as_sequence().items;
      if (used_ >= items.size()) fail("not enough arguments for format string");
      return items[used_++];
    }
    if (used_++ > 0) fail("not enough arguments for format string");
    return values_;
  }

  void check_all_used() const {
    const std::size_t given =
        values_.is(Kind::kTuple) ? values_.as_sequence().items.size() : std::size_t{1};
    if (values_.is(Kind::kDict) || used_ >= given) return;
    fail("not all arguments converted during string formatting");
  }

  int star_or_number(int limit) {
    if (peek() != '*') return read_number(format_.view(), position_, limit);
    ++position_;
    const Value& value = next_value();
    if (!value.is_integral()) fail("* wants int");
    if (value.as_integer() < 0 || value.as_integer() > limit) {
      fail_limit("a width or precision is too large");
    }
    return static_cast<int>(value.as_integer());
  }

  void convert() {
    machine_.budget().spend(1);
    std::optional<Value> named;
    if (peek() == '(') {
      const std::size_t close = format_.view().find(')', position_);
      if (close == std::string_view::npos) fail("incomplete format key");
      const Value key = Value::string(slice_text(machine_.budget(), format_, position_ + 1, close));
      if (!values_.is(Kind::kDict)) fail("format requires a mapping");
      const Value* found = values_.as_dict().find(key.view());
      if (found == nullptr) fail("KeyError: '{}'", key.view());
      named = *found;
      position_ = close + 1;
    }
    FormatSpecification specification;
    specification.align = '>';
    bool has_zero = false;
    for (; is_one_of(peek(), "-+ #0"); ++position_) {
      const char flag = peek();
      if (flag == '-') specification.align = '<';
      if (flag == '+' || (flag == ' ' && specification.sign != '+')) specification.sign = flag;
      if (flag == '#') specification.is_alternate = true;
      if (flag == '0') has_zero = true;
    }
    specification.width = star_or_number(kMaxFormatWidth);
    if (peek() == '.') {
      ++position_;
      specification.precision = star_or_number(kMaxFormatPrecision);
    }
    while (is_one_of(peek(), "hlL")) ++position_;
    specification.type = peek();
    ++position_;
    if (specification.type == '%') return out_.append_template("%");
    if (has_zero && specification.align != '<' && !is_one_of(specification.type, "sra")) {
      specification.align = '=';
      specification.fill.assign(1, '0');
    }
    append(named ? *named : next_value(), specification);
  }

  void append(const Value& value, FormatSpecification& specification) {
    const char type = specification.type;
    if (type == 's') return append_string(machine_.to_text(value), specification);
    if (type == 'r' || type == 'a') return append_string(repr_of(machine_, value), specification);
    require_defined(value);
    if (type == 'c') {
      Text character;
      if (value.is_string()) {
        character = value.as_text();
      } else if (value.is_integral()) {
        std::string bytes;
        append_utf8(bytes, static_cast<char32_t>(value.as_integer() & 0x1FFFFF));
        character = Text::make(machine_.budget(), bytes, false);
      }
      if (count_code_points(character.view()) != 1) fail("%c requires int or char");
      return out_.append(pad_string(machine_, character, specification));
    }
    if (is_one_of(type, "diuxXo")) return append_integer(value, specification);
    if (is_one_of(type, "fFeEgG")) {
      if (!value.is_number()) fail("must be real number, not {}", type_name(value));
      return out_.append(
          pad_number(machine_, format_real(value.as_real(), specification), specification));
    }
    fail("unsupported format character '{}'", type);
  }

  // Markup escapes what is put into it.
  void append_string(const Text& text, const FormatSpecification& specification) {
    out_.append(pad_string(machine_,
                           format_.is_markup() ? escape_text(machine_.budget(), text) : text,
                           specification));
  }

  void append_integer(const Value& value, FormatSpecification& specification) {
    const char type = specification.type;
    const bool is_decimal = is_one_of(type, "diu");
    if (!value.is_number() || (!is_decimal && !value.is_integral())) {
      fail("%{} format: a real number is required, not {}", type, type_name(value));
    }
    if (is_decimal) specification.type = 'd';
    if (!value.is_integral() && !(std::abs(value.as_real()) < 1e38)) fail("integer too large");
    FormattedNumber number = format_integer(
        value.is_integral() ? value.as_integer() : static_cast<Integer>(value.as_real()),
        specification);
    const auto least = static_cast<std::size_t>(std::max(specification.precision, 0));
    if (number.digits.size() < least) {
      number.digits.insert(0, least - number.digits.size(), '0');
    }
    out_.append(pad_number(machine_, number, specification));
  }

  Machine& machine_;
  const Text& format_;
  const Value& values_;
  TextBuilder out_;
  std::size_t position_ = 0;
  std::size_t used_ = 0;
};

// --- str.format ---

FormatSpecification parse_specification(std::string_view text) {
  FormatSpecification out;
  std::size_t position = 0;
  if (!text.empty()) {
    const std::size_t first = code_point_at(text, 0).length;
    if (first < text.size() && is_one_of(text[first], "<>^=")) {
      out.fill = std::string(text.substr(0, first));
      out.align = text[first];
      position = first + 1;
    } else if (is_one_of(text[0], "<>^=")) {
      out.align = text[0];
      position = 1;
    }
  }
  const auto peek = [&] { return position < text.size() ? text[position] : '\0'; };
  if (is_one_of(peek(), "+- ") && peek() != '\0') out.sign = text[position++];
  if (peek() == 'z') ++position;
  if (peek() == '#') {
    out.is_alternate = true;
    ++position;
  }
  if (peek() == '0') {
    if (out.align == 0) {
      out.align = '=';
      out.fill.assign(1, '0');
    }
    ++position;
  }
  out.width = read_number(text, position, kMaxFormatWidth);
  if (peek() == ',' || peek() == '_') out.grouping = text[position++];
  if (peek() == '.') {
    ++position;
    if (!is_digit(peek())) fail("Format specifier missing precision");
    out.precision = read_number(text, position, kMaxFormatPrecision);
  }
  if (position < text.size()) out.type = text[position++];
  if (position != text.size()) fail("Invalid format specifier '{}'", text);
  return out;
}

class BraceFormatter {
 public:
  BraceFormatter(Machine& machine, const Arguments& arguments)
      : machine_(machine), arguments_(arguments) {}

  Text run(const Text& format, int depth) {
    if (depth > 2) fail("Max string recursion exceeded");
    TextBuilder out(machine_.budget());
    const std::string_view view = format.view();
    for (std::size_t i = 0; i < view.size();) {
      const std::size_t brace = std::min(view.find_first_of("{}", i), view.size());
      out.append_range(format, i, brace);
      if (brace == view.size()) break;
      if (brace + 1 < view.size() && view[brace + 1] == view[brace]) {
        out.append_range(format, brace, brace + 1);
        i = brace + 2;
        continue;
      }
      if (view[brace] == '}') fail("Single '}' encountered in format string");
      const std::size_t close = end_of_field(view, brace + 1);
      const Text field = slice_text(machine_.budget(), format, brace + 1, close);
      const Text shown = replace(field.with_markup(false), depth);
      out.append(format.is_markup() ? escape_text(machine_.budget(), shown) : shown);
      i = close + 1;
    }
    return out.finish().with_markup(format.is_markup());
  }

 private:
  static std::size_t end_of_field(std::string_view view, std::size_t begin) {
    int open = 1;
    for (std::size_t i = begin; i < view.size(); ++i) {
      if (view[i] == '{') ++open;
      if (view[i] == '}' && --open == 0) return i;
    }
    fail("expected '}' before end of string");
  }

  // What a field "name.path[key]!r:specification" gives.
  Text replace(const Text& field, int depth) {
    machine_.budget().spend(1);
    const std::string_view view = field.view();
    const std::size_t name_end = std::min(view.find_first_of("!:"), view.size());
    Value value = lookup(view.substr(0, name_end));
    std::size_t position = name_end;
    if (position < view.size() && view[position] == '!') {
      if (position + 1 >= view.size()) fail("unmatched '{' in format spec");
      const char conversion = view[position + 1];
      if (!is_one_of(conversion, "rsa")) {
        fail("Unknown conversion specifier {}", conversion);
      }
      value = Value::string(conversion == 's' ? machine_.to_text(value) : repr_of(machine_, value));
      position += 2;
    }
    Text specification;
    if (position < view.size()) {
      if (view[position] != ':') fail("expected ':' after conversion specifier");
      specification =
          run(slice_text(machine_.budget(), field, position + 1, view.size()), depth + 1);
    }
    return format_value(machine_, value, specification.view());
  }

  Value lookup(std::string_view name) {
    const std::size_t head_end = std::min(name.find_first_of(".["), name.size());
    Value value = argument(name.substr(0, head_end));
    for (std::size_t i = head_end; i < name.size();) {
      if (name[i] == '.') {
        const std::size_t end = std::min(name.find_first_of(".[", i + 1), name.size());
        value = machine_.attribute(
            value, Text::make(machine_.budget(), name.substr(i + 1, end - i - 1), false));
        i = end;
      } else if (name[i] == '[') {
        const std::size_t end = name.find(']', i);
        if (end == std::string_view::npos) fail("Missing ']' in format string");
        value = machine_.item(value, key_of(name.substr(i + 1, end - i - 1)));
        i = end + 1;
      } else {
        fail("Only '.' or '[' may follow ']' in format field specifier");
      }
    }
    require_defined(value);
    return value;
  }

  Value key_of(std::string_view text) {
    const bool is_index = !text.empty() && text.size() < 10 &&
                          text.find_first_not_of("0123456789") == std::string_view::npos;
    if (is_index) return Value::integer(std::stoi(std::string(text)));
    return machine_.heap().string(text);
  }

  const Value& argument(std::string_view name) {
    const Value key = name.empty() ? Value::integer(static_cast<Integer>(next_++)) : key_of(name);
    if (key.is_integral()) {
      const auto index = static_cast<std::size_t>(key.as_integer());
      if (index >= arguments_.positional.size()) {
        fail("Replacement index {} out of range for positional args tuple", index);
      }
      return arguments_.positional[index];
    }
    for (const auto& [keyword, value] : arguments_.keyword) {
      if (keyword == name) return value;
    }
    fail("KeyError: '{}'", name);
  }

  Machine& machine_;
  const Arguments& arguments_;
  std::size_t next_ = 0;
};

}  // namespace

Text format_percent(Machine& machine, const Text& format, const Value& values) {
  return PercentFormatter(machine, format, values).run();
}

Text format_braces(Machine& machine, const Text& format, const Arguments& arguments) {
  return BraceFormatter(machine, arguments).run(format, 0);
}

Text format_value(Machine& machine, const Value& value, std::string_view specification) {
  if (specification.empty()) return machine.to_text(value);
  const FormatSpecification parsed = parse_specification(specification);
  const auto reject = [&] {
    fail("Unknown format code '{}' for object of type '{}'", parsed.type, type_name(value));
  };
  if (value.is_string()) {
    if (parsed.type != 0 && parsed.type != 's') reject();
    return pad_string(machine, value.as_text(), parsed);
  }
  if (value.is(Kind::kBoolean) && parsed.type == 0) {
    return pad_string(machine, machine.to_text(value), parsed);
  }
  if (value.is_integral() && (parsed.type == 0 || is_one_of(parsed.type, "dbxXon"))) {
    return pad_number(machine, format_integer(value.as_integer(), parsed), parsed);
  }
  if (value.is_number()) {
    if (parsed.type != 0 && !is_one_of(parsed.type, "eEfFgGn%")) reject();
    return pad_number(machine, format_real(value.as_real(), parsed), parsed);
  }
  fail("unsupported format string passed to {}.__format__", type_name(value));
}

std::string format_time(const std::tm& time, const std::string& format) {
  // A time without a zone, to the second: %z and %Z are empty, %f is zero.
  std::string pattern;
  for (std::size_t i = 0; i < format.size(); ++i) {
    if (format[i] != '%' || i + 1 >= format.size()) {
      pattern.push_back(format[i]);
      continue;
    }
    const char directive = format[++i];
    if (directive == 'f') {
      pattern += "000000";
    } else if (directive != 'z' && directive != 'Z') {
      pattern.push_back('%');
      pattern.push_back(directive);
    }
  }
  if (pattern.empty()) return "";
  pattern.push_back('|');  // so that an empty result can be told from a buffer too small
  std::vector<char> buffer(64 + 64 * pattern.size());
  const std::size_t size = std::strftime(buffer.data(), buffer.size(), pattern.c_str(), &time);
  return size == 0 ? "" : std::string(buffer.data(), size - 1);
}

}  // namespace tutti::text::jinja
