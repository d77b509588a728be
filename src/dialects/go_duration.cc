#include "dialects/go_duration.h"

#include <charconv>
#include <cmath>

namespace tutti::dialects {
namespace {

struct Unit {
  std::string_view name;
  double seconds;
};

// Longer names before their own beginnings.
constexpr Unit kUnits[] = {{"ns", 1e-9}, {"us", 1e-6}, {"\u00b5s", 1e-6}, {"\u03bcs", 1e-6},
                           {"ms", 1e-3}, {"s", 1},     {"m", 60},         {"h", 3600}};

// Takes digits and at most one point from the front; nullopt when there is no digit.
std::optional<double> take_number(std::string_view& text) {
  std::size_t length = 0;
  while (length < text.size() &&
         ((text[length] >= '0' && text[length] <= '9') || text[length] == '.')) {
    ++length;
  }
  double number = 0;
  const auto [end, error] =
      std::from_chars(text.data(), text.data() + length, number, std::chars_format::fixed);
  if (error != std::errc() || end != text.data() + length) return std::nullopt;
  text.remove_prefix(length);
  return number;
}

std::optional<double> take_unit(std::string_view& text) {
  for (const Unit& unit : kUnits) {
    if (!text.starts_with(unit.name)) continue;
    text.remove_prefix(unit.name.size());
    return unit.seconds;
  }
  return std::nullopt;
}

}  // namespace

std::optional<double> parse_go_duration(std::string_view text) {
  double sign = 1;
  if (!text.empty() && (text[0] == '-' || text[0] == '+')) {
    if (text[0] == '-') sign = -1;
    text.remove_prefix(1);
  }
  double seconds = 0;
  bool first = true;
  do {
    const std::optional<double> number = take_number(text);
    if (!number) return std::nullopt;
    if (first && text.empty()) return sign * *number;
    const std::optional<double> unit = take_unit(text);
    if (!unit) return std::nullopt;
    seconds += *number * *unit;
    first = false;
  } while (!text.empty());
  return std::isfinite(seconds) ? std::optional(sign * seconds) : std::nullopt;
}

}  // namespace tutti::dialects
