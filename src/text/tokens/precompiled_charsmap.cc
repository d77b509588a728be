#include "text/tokens/precompiled_charsmap.h"

#include <fmt/format.h>
#include <utf8proc.h>

#include <cstring>

#include "text/unicode.h"

namespace tutti::text {
namespace {

// Fields of a unit of the double array.
bool has_leaf(std::uint32_t unit) { return (unit >> 8 & 1) != 0; }
std::uint32_t leaf_value(std::uint32_t unit) { return unit & 0x7FFFFFFF; }
std::uint32_t label(std::uint32_t unit) { return unit & 0x800000FF; }
std::uint32_t offset(std::uint32_t unit) { return (unit >> 10) << ((unit & 0x200) >> 6); }

}  // namespace

Result<PrecompiledCharsmap> PrecompiledCharsmap::parse(std::string_view bytes) {
  std::uint32_t trie_bytes = 0;
  if (bytes.size() < sizeof trie_bytes) return corrupt("precompiled_charsmap: no size of its trie");
  std::memcpy(&trie_bytes, bytes.data(), sizeof trie_bytes);
  bytes.remove_prefix(sizeof trie_bytes);
  if (trie_bytes > bytes.size() || trie_bytes % 4 != 0) {
    return corrupt(fmt::format("precompiled_charsmap: a trie of {} bytes in {} bytes", trie_bytes,
                               bytes.size()));
  }
  PrecompiledCharsmap map;
  map.units_.resize(trie_bytes / 4);
  if (trie_bytes > 0) std::memcpy(map.units_.data(), bytes.data(), trie_bytes);
  map.replacements_ = bytes.substr(trie_bytes);
  if (!is_valid_utf8(map.replacements_)) {
    return corrupt("precompiled_charsmap: a replacement is not UTF-8");
  }
  return map;
}

std::optional<std::string_view> PrecompiledCharsmap::find(std::string_view chunk) const {
  if (units_.empty()) return std::nullopt;
  std::size_t node = offset(units_[0]);
  for (const char c : chunk) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte == 0) break;
    node ^= byte;
    if (node >= units_.size()) return std::nullopt;
    const std::uint32_t unit = units_[node];
    if (label(unit) != byte) return std::nullopt;
    node ^= offset(unit);
    if (!has_leaf(unit)) continue;
    if (node >= units_.size()) return std::nullopt;
    const std::size_t begin = leaf_value(units_[node]);
    if (begin >= replacements_.size()) return std::nullopt;
    // An offset into the middle of a character would make invalid UTF-8.
    if ((replacements_[begin] & 0xC0) == 0x80) return std::nullopt;
    const std::size_t end = replacements_.find('\0', begin);
    return std::string_view(replacements_).substr(begin, end - begin);
  }
  return std::nullopt;
}

void PrecompiledCharsmap::append_grapheme(std::string_view grapheme, std::string& result) const {
  if (grapheme.size() < 6) {
    if (const auto replacement = find(grapheme)) {
      result += *replacement;
      return;
    }
  }
  for_each_char(grapheme, [&](char32_t, std::size_t begin, int length) {
    const std::string_view character = grapheme.substr(begin, length);
    result += find(character).value_or(character);
  });
}

std::string PrecompiledCharsmap::apply(std::string_view text) const {
  std::string result;
  result.reserve(text.size());
  std::size_t grapheme_begin = 0;
  utf8proc_int32_t state = 0;
  char32_t previous = 0;
  for_each_char(text, [&](char32_t character, std::size_t begin, int) {
    if (begin > 0 &&
        utf8proc_grapheme_break_stateful(static_cast<utf8proc_int32_t>(previous),
                                         static_cast<utf8proc_int32_t>(character), &state)) {
      append_grapheme(text.substr(grapheme_begin, begin - grapheme_begin), result);
      grapheme_begin = begin;
    }
    previous = character;
  });
  append_grapheme(text.substr(grapheme_begin), result);
  return result;
}

}  // namespace tutti::text
