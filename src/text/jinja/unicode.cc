#include "text/jinja/unicode.h"

#include <utf8proc.h>

#include <cstring>

namespace tutti::text::jinja {
namespace {

bool is_continuation(char byte) { return (static_cast<unsigned char>(byte) & 0xC0) == 0x80; }

utf8proc_category_t category(char32_t value) {
  if (value >= kInvalidByte) return UTF8PROC_CATEGORY_CN;
  return utf8proc_category(static_cast<utf8proc_int32_t>(value));
}

void append_mapped(std::string& out, char32_t value, utf8proc_int32_t (*map)(utf8proc_int32_t)) {
  if (value >= kInvalidByte) {
    out.push_back(static_cast<char>(value & 0xFF));
    return;
  }
  append_utf8(out, static_cast<char32_t>(map(static_cast<utf8proc_int32_t>(value))));
}

}  // namespace

CodePoint code_point_at(std::string_view text, std::size_t position) {
  const auto first = static_cast<unsigned char>(text[position]);
  if (first < 0x80) return {first, 1};
  utf8proc_int32_t value = -1;
  const auto length =
      utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data()) + position,
                       static_cast<utf8proc_ssize_t>(text.size() - position), &value);
  if (length <= 0) return {kInvalidByte | first, 1};
  return {static_cast<char32_t>(value), static_cast<std::size_t>(length)};
}

std::size_t previous_code_point(std::string_view text, std::size_t position) {
  std::size_t begin = position - 1;
  while (begin > 0 && position - begin < 4 && is_continuation(text[begin])) --begin;
  return code_point_at(text, begin).length == position - begin ? begin : position - 1;
}

std::size_t count_code_points(std::string_view text) {
  std::size_t count = 0;
  for (std::size_t i = 0; i < text.size(); i += code_point_at(text, i).length) ++count;
  return count;
}

std::size_t byte_of_code_point(std::string_view text, std::size_t index) {
  std::size_t position = 0;
  for (; index > 0 && position < text.size(); --index) {
    position += code_point_at(text, position).length;
  }
  return position;
}

void append_utf8(std::string& out, char32_t value) {
  if (value >= kInvalidByte) {
    out.push_back(static_cast<char>(value & 0xFF));
    return;
  }
  utf8proc_uint8_t bytes[4];
  const auto length = utf8proc_encode_char(static_cast<utf8proc_int32_t>(value), bytes);
  out.append(reinterpret_cast<const char*>(bytes), static_cast<std::size_t>(length));
}

bool is_space(char32_t value) {
  if (value < 0x80) return (value >= 9 && value <= 13) || (value >= 0x1C && value <= 0x20);
  return value == 0x85 || value == 0xA0 || value == 0x1680 ||
         (value >= 0x2000 && value <= 0x200A) || value == 0x2028 || value == 0x2029 ||
         value == 0x202F || value == 0x205F || value == 0x3000;
}

bool is_printable(char32_t value) {
  if (value < 0x7F) return value >= 0x20;
  switch (category(value)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_ZS:
      return false;
    default:
      return true;
  }
}

bool is_alpha(char32_t value) {
  const auto kind = category(value);
  return kind >= UTF8PROC_CATEGORY_LU && kind <= UTF8PROC_CATEGORY_LO;
}
bool is_decimal(char32_t value) { return category(value) == UTF8PROC_CATEGORY_ND; }
bool is_numeric(char32_t value) {
  const auto kind = category(value);
  return kind >= UTF8PROC_CATEGORY_ND && kind <= UTF8PROC_CATEGORY_NO;
}
bool is_upper(char32_t value) { return category(value) == UTF8PROC_CATEGORY_LU; }
bool is_lower(char32_t value) { return category(value) == UTF8PROC_CATEGORY_LL; }
bool is_title(char32_t value) { return category(value) == UTF8PROC_CATEGORY_LT; }

bool is_line_break(char32_t value) {
  return (value >= 0x0A && value <= 0x0D) || (value >= 0x1C && value <= 0x1E) || value == 0x85 ||
         value == 0x2028 || value == 0x2029;
}

void append_upper(std::string& out, char32_t value) {
  switch (value) {
    case 0xDF:
      out += "SS";
      return;
    case 0xFB00:
      out += "FF";
      return;
    case 0xFB01:
      out += "FI";
      return;
    case 0xFB02:
      out += "FL";
      return;
    case 0x149:
      out += "\xCA\xBCN";
      return;
    default:
      append_mapped(out, value, utf8proc_toupper);
  }
}

void append_lower(std::string& out, char32_t value) {
  if (value == 0x130) {
    out += "i\xCC\x87";
    return;
  }
  append_mapped(out, value, utf8proc_tolower);
}

void append_title(std::string& out, char32_t value) {
  switch (value) {
    case 0xDF:
      out += "Ss";
      return;
    case 0xFB00:
      out += "Ff";
      return;
    case 0xFB01:
      out += "Fi";
      return;
    case 0xFB02:
      out += "Fl";
      return;
    default:
      append_mapped(out, value, utf8proc_totitle);
  }
}

namespace {

template <typename Predicate>
StripRange strip_while(std::string_view text, StripSide side, Predicate is_stripped) {
  StripRange range{0, text.size()};
  if (side != StripSide::kRight) {
    while (range.begin < range.end) {
      const CodePoint point = code_point_at(text, range.begin);
      if (!is_stripped(point.value)) break;
      range.begin += point.length;
    }
  }
  if (side != StripSide::kLeft) {
    while (range.end > range.begin) {
      const std::size_t last = previous_code_point(text.substr(0, range.end), range.end);
      if (!is_stripped(code_point_at(text.substr(0, range.end), last).value)) break;
      range.end = last;
    }
  }
  return range;
}

}  // namespace

StripRange strip_range(std::string_view text, StripSide side) {
  return strip_while(text, side, is_space);
}

StripRange strip_range(std::string_view text, std::string_view characters, StripSide side) {
  std::u32string set;
  for (std::size_t i = 0; i < characters.size();) {
    const CodePoint point = code_point_at(characters, i);
    set.push_back(point.value);
    i += point.length;
  }
  return strip_while(text, side,
                     [&](char32_t value) { return set.find(value) != std::u32string::npos; });
}

std::size_t find_bytes(std::string_view text, std::string_view needle, std::size_t from) {
  if (from > text.size()) return std::string_view::npos;
  if (needle.empty()) return from;
  const void* found = memmem(text.data() + from, text.size() - from, needle.data(), needle.size());
  if (found == nullptr) return std::string_view::npos;
  return static_cast<std::size_t>(static_cast<const char*>(found) - text.data());
}

}  // namespace tutti::text::jinja
