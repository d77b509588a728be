// Code points of UTF-8, as Python's str sees them. A byte that is no valid UTF-8 counts as one
// code point of its own and is copied as it is.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace tutti::text::jinja {

struct CodePoint {
  char32_t value;      // the byte itself | kInvalidByte for a byte that is not UTF-8
  std::size_t length;  // in bytes, 1 to 4
};
inline constexpr char32_t kInvalidByte = 0x110000;

// The code point that begins at `position` < text.size().
CodePoint code_point_at(std::string_view text, std::size_t position);
// The byte where the code point that ends at `position` > 0 begins.
std::size_t previous_code_point(std::string_view text, std::size_t position);
std::size_t count_code_points(std::string_view text);
// The byte where code point `index` begins; text.size() when there are no more than `index`.
std::size_t byte_of_code_point(std::string_view text, std::size_t index);
void append_utf8(std::string& out, char32_t value);

// str.isspace of one character.
bool is_space(char32_t value);
bool is_printable(char32_t value);  // what repr() shows as it is
bool is_alpha(char32_t value);
bool is_decimal(char32_t value);
bool is_numeric(char32_t value);
bool is_upper(char32_t value);
bool is_lower(char32_t value);
bool is_title(char32_t value);
// A line boundary of str.splitlines.
bool is_line_break(char32_t value);

// Full case mappings where they differ from the simple ones ("ß" becomes "SS").
void append_upper(std::string& out, char32_t value);
void append_lower(std::string& out, char32_t value);
void append_title(std::string& out, char32_t value);

// Where the text without white space (or without the code points of `characters`) at its ends
// begins and ends, in bytes.
struct StripRange {
  std::size_t begin;
  std::size_t end;
};
enum class StripSide { kBoth, kLeft, kRight };
StripRange strip_range(std::string_view text, StripSide side);
StripRange strip_range(std::string_view text, std::string_view characters, StripSide side);

// The first occurrence of `needle` at or after `from`, in linear time; npos when there is none.
std::size_t find_bytes(std::string_view text, std::string_view needle, std::size_t from);

}  // namespace tutti::text::jinja
