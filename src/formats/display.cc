#include "formats/display.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>

namespace tutti::formats {
namespace {

// Length of the valid UTF-8 sequence at the front of `text` (Unicode 15, table 3-7), or 0.
std::size_t utf8_sequence_length(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<std::uint8_t>(text[i]); };
  const auto in_range = [&](std::size_t i, int low, int high) {
    return i < text.size() && byte(i) >= low && byte(i) <= high;
  };
  const int first = byte(0);
  if (first < 0x80) return 1;
  if (first < 0xc2 || first > 0xf4) return 0;
  if (first < 0xe0) return in_range(1, 0x80, 0xbf) ? 2 : 0;
  const int second_low = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
  const int second_high = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
  if (!in_range(1, second_low, second_high) || !in_range(2, 0x80, 0xbf)) return 0;
  if (first < 0xf0) return 3;
  return in_range(3, 0x80, 0xbf) ? 4 : 0;
}

}  // namespace

std::string display(std::string_view name) {
  constexpr std::size_t kMaxBytes = 100;
  std::string text;
  for (const char c : name.substr(0, kMaxBytes)) {
    if (c >= 0x20 && c < 0x7f) {
      text += c;
    } else {
      text += fmt::format("\\x{:02x}", static_cast<std::uint8_t>(c));
    }
  }
  if (name.size() > kMaxBytes) text += "…";
  return text;
}

std::string valid_utf8(std::string_view text, std::size_t max_bytes) {
  std::string valid;
  std::size_t at = 0;
  while (at < text.size()) {
    const std::size_t length = utf8_sequence_length(text.substr(at));
    const std::size_t step = std::max<std::size_t>(length, 1);
    if (at + step > max_bytes) return valid + "…";
    valid += length > 0 ? text.substr(at, length) : std::string_view("\xef\xbf\xbd");
    at += step;
  }
  return valid;
}

}  // namespace tutti::formats
