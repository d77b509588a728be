#include "text/tokens/unicode_scripts.h"

#include <algorithm>
#include <cstdint>
#include <iterator>

namespace tutti::text {
namespace {

struct ScriptRange {
  std::uint32_t first;
  std::uint32_t last;
  std::uint8_t script;
};

constexpr ScriptRange kRanges[] = {
#include "text/tokens/unicode_script_table.inc"
};

}  // namespace

int unicode_script(char32_t character) {
  const auto* above = std::upper_bound(
      std::begin(kRanges), std::end(kRanges), character,
      [](char32_t value, const ScriptRange& range) { return value < range.first; });
  if (above == std::begin(kRanges) || character > std::prev(above)->last) return kAnyScript;
  return std::prev(above)->script;
}

}  // namespace tutti::text
