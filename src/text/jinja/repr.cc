#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <utility>

#include "text/jinja/format.h"
#include "text/jinja/unicode.h"

namespace tutti::text::jinja {
namespace {

void check_depth(int depth) {
  if (depth > kMaxValueDepth) fail_limit("values are nested too deep");
}

std::string hexadecimal(char32_t value, int digits) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string out;
  for (int shift = 4 * (digits - 1); shift >= 0; shift -= 4) {
    out.push_back(kDigits[(value >> shift) & 15]);
  }
  return out;
}

// Python's escape of a character that repr does not show.
std::string repr_escape(char32_t value) {
  if (value == '\n') return "\\n";
  if (value == '\r') return "\\r";
  if (value == '\t') return "\\t";
  if (value <= 0xFF || value >= kInvalidByte) return "\\x" + hexadecimal(value & 0xFF, 2);
  if (value <= 0xFFFF) return "\\u" + hexadecimal(value, 4);
  return "\\U" + hexadecimal(value, 8);
}

// Copies `text`, with what `escape` gives for a code point in its place (empty: as it is).
template <typename Escape>
void append_escaped(TextBuilder& out, const Text& text, Escape escape) {
  const std::string_view view = text.view();
  ContentCursor cursor(text);
  std::size_t copied = 0;
  for (std::size_t i = 0; i < view.size();) {
    const CodePoint point = code_point_at(view, i);
    const std::string escaped = escape(point.value);
    if (!escaped.empty()) {
      out.append_range(text, copied, i);
      out.append_bytes(escaped, cursor.is_content(i));
      copied = i + point.length;
    }
    i += point.length;
  }
  out.append_range(text, copied, view.size());
}

void append_string_repr(TextBuilder& out, const Text& text) {
  const std::string_view view = text.view();
  const bool double_quotes =
      view.find('\'') != std::string_view::npos && view.find('"') == std::string_view::npos;
  const char quote = double_quotes ? '"' : '\'';
  out.append_template(std::string_view(&quote, 1));
  append_escaped(out, text, [&](char32_t value) -> std::string {
    if (value == static_cast<char32_t>(quote)) return std::string("\\") + quote;
    if (value == '\\') return "\\\\";
    return is_printable(value) ? "" : repr_escape(value);
  });
  out.append_template(std::string_view(&quote, 1));
}

std::string json_escape(char32_t value, const JsonOptions& options) {
  switch (value) {
    case '"':
      return "\\\"";
    case '\\':
      return "\\\\";
    case '\n':
      return "\\n";
    case '\r':
      return "\\r";
    case '\t':
      return "\\t";
    case '\f':
      return "\\f";
    case '\b':
      return "\\b";
    default:
      break;
  }
  if (value < 0x20) return "\\u" + hexadecimal(value, 4);
  const bool is_html = value == '<' || value == '>' || value == '&';
  if (options.escape_html && is_html) return "\\u" + hexadecimal(value, 4);
  if (!options.ensure_ascii || value < 0x7F) return "";
  if (value <= 0xFFFF) return "\\u" + hexadecimal(value, 4);
  const char32_t offset = value - 0x10000;
  return "\\u" + hexadecimal(0xD800 + (offset >> 10), 4) + "\\u" +
         hexadecimal(0xDC00 + (offset & 0x3FF), 4);
}

void append_json_string(TextBuilder& out, const Text& text, const JsonOptions& options) {
  out.append_template("\"");
  append_escaped(out, text, [&](char32_t value) { return json_escape(value, options); });
  out.append_template("\"");
}

std::string json_number(const Value& value) {
  if (value.is(Kind::kInteger)) return integer_text(value.as_integer());
  const double real = value.as_real();
  if (std::isnan(real)) return "NaN";
  if (std::isinf(real)) return real < 0 ? "-Infinity" : "Infinity";
  return real_text(real);
}

Text json_key(Machine& machine, const Value& key) {
  switch (key.kind()) {
    case Kind::kString:
      return key.as_text();
    case Kind::kNone:
      return Text::literal("null");
    case Kind::kBoolean:
      return Text::literal(key.as_boolean() ? "true" : "false");
    case Kind::kInteger:
    case Kind::kReal:
      return Text::make(machine.budget(), json_number(key), false);
    default:
      fail("keys must be str, int, float, bool or None, not {}", type_name(key));
  }
}

void append_line_break(TextBuilder& out, const JsonOptions& options, int depth) {
  if (!options.indent) return;
  out.append_template("\n");
  for (int i = 0; i < depth; ++i) out.append(*options.indent);
}

void append_json_items(Machine& machine, TextBuilder& out, const std::vector<Value>& items,
                       const JsonOptions& options, int depth) {
  if (items.empty()) return out.append_template("[]");
  out.append_template("[");
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (i > 0) out.append(options.item_separator);
    append_line_break(out, options, depth + 1);
    append_json(machine, out, items[i], options, depth + 1);
  }
  append_line_break(out, options, depth);
  out.append_template("]");
}

void append_json_dict(Machine& machine, TextBuilder& out, Dict& dict, const JsonOptions& options,
                      int depth) {
  if (dict.entries().empty()) return out.append_template("{}");
  std::vector<const Dict::Entry*> entries;
  for (const auto& entry : dict.entries()) entries.push_back(&entry);
  if (options.sort_keys) {
    std::stable_sort(entries.begin(), entries.end(), [&](const auto* a, const auto* b) {
      return compare(machine.budget(), a->key, b->key, "<") < 0;
    });
  }
  out.append_template("{");
  bool is_first = true;
  for (const auto* entry : entries) {
    if (!std::exchange(is_first, false)) out.append(options.item_separator);
    append_line_break(out, options, depth + 1);
    append_json_string(out, json_key(machine, entry->key), options);
    out.append(options.key_separator);
    append_json(machine, out, entry->value, options, depth + 1);
  }
  append_line_break(out, options, depth);
  out.append_template("}");
}

}  // namespace

std::string integer_text(Integer value) {
  if (value == 0) return "0";
  std::string digits;
  const bool is_negative = value < 0;
  for (; value != 0; value /= 10) {
    const int digit = static_cast<int>(value % 10);
    digits.push_back(static_cast<char>('0' + (digit < 0 ? -digit : digit)));
  }
  if (is_negative) digits.push_back('-');
  std::reverse(digits.begin(), digits.end());
  return digits;
}

std::string real_text(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  std::array<char, 64> buffer;
  const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value,
                                 std::chars_format::scientific)
                       .ptr;
  const std::string_view scientific(buffer.data(), static_cast<std::size_t>(end - buffer.data()));
  const int exponent = std::atoi(std::string(scientific.substr(scientific.find('e') + 1)).c_str());
  if (exponent < -4 || exponent >= 16) return std::string(scientific);
  const auto fixed_end =
      std::to_chars(buffer.data(), buffer.data() + buffer.size(), value, std::chars_format::fixed)
          .ptr;
  std::string fixed(buffer.data(), fixed_end);
  if (fixed.find('.') == std::string::npos) fixed += ".0";
  return fixed;
}

void append_repr(Machine& machine, TextBuilder& out, const Value& value, int depth) {
  check_depth(depth);
  machine.budget().spend(1);
  switch (value.kind()) {
    case Kind::kUndefined:
      return out.append_template("Undefined");
    case Kind::kNone:
      return out.append_template("None");
    case Kind::kBoolean:
      return out.append_template(value.as_boolean() ? "True" : "False");
    case Kind::kInteger:
      return out.append_template(integer_text(value.as_integer()));
    case Kind::kReal:
      return out.append_template(real_text(value.as_real()));
    case Kind::kString:
      if (!value.as_text().is_markup()) return append_string_repr(out, value.as_text());
      out.append_template("Markup(");
      append_string_repr(out, value.as_text());
      return out.append_template(")");
    case Kind::kOther:
      return value.as_object()->append_repr(machine, out, depth);
    case Kind::kDict: {
      out.append_template("{");
      bool is_first = true;
      for (const auto& entry : value.as_dict().entries()) {
        if (!std::exchange(is_first, false)) out.append_template(", ");
        append_repr(machine, out, entry.key, depth + 1);
        out.append_template(": ");
        append_repr(machine, out, entry.value, depth + 1);
      }
      return out.append_template("}");
    }
    default: {
      const bool is_list = value.is(Kind::kList);
      const auto& items = value.as_sequence().items;
      out.append_template(is_list ? "[" : "(");
      for (std::size_t i = 0; i < items.size(); ++i) {
        if (i > 0) out.append_template(", ");
        append_repr(machine, out, items[i], depth + 1);
      }
      if (!is_list && items.size() == 1) out.append_template(",");
      return out.append_template(is_list ? "]" : ")");
    }
  }
}

void append_json(Machine& machine, TextBuilder& out, const Value& value, const JsonOptions& options,
                 int depth) {
  check_depth(depth);
  machine.budget().spend(1);
  switch (value.kind()) {
    case Kind::kNone:
      return out.append_template("null");
    case Kind::kBoolean:
      return out.append_template(value.as_boolean() ? "true" : "false");
    case Kind::kInteger:
    case Kind::kReal:
      return out.append_template(json_number(value));
    case Kind::kString:
      return append_json_string(out, value.as_text(), options);
    case Kind::kList:
    case Kind::kTuple:
      return append_json_items(machine, out, value.as_sequence().items, options, depth);
    case Kind::kDict:
      return append_json_dict(machine, out, value.as_dict(), options, depth);
    case Kind::kOther:
      if (auto items = value.as_object()->iterate(machine)) {
        return append_json_items(machine, out, *items, options, depth);
      }
      break;
    default:
      break;
  }
  fail("Object of type {} is not JSON serializable", type_name(value));
}

}  // namespace tutti::text::jinja
