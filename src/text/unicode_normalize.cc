// Canonical and compatibility normal forms, from utf8proc's tables.
//
// Only the stretches that may change are taken apart: an inert character stands for itself in every
// form and nothing after it reorders across it. Runs of combining marks are put in order by a
// stable sort (utf8proc's own insertion sort is quadratic on hostile runs).
#include <utf8proc.h>

#include <algorithm>
#include <vector>

#include "text/unicode.h"

namespace tutti::text {
namespace {

bool composes(UnicodeForm form) { return form == UnicodeForm::kNfc || form == UnicodeForm::kNfkc; }

// Equal to its own normal form, combining class 0, and not a second half of any composition.
bool is_inert(char32_t c, UnicodeForm form) {
  if (c < 0x80) return true;
  if (c >= 0x4E00 && c <= 0x9FFF) return true;  // unified ideographs
  if (form == UnicodeForm::kNfc && c < 0x300) return true;
  return composes(form) && c >= 0xAC00 && c <= 0xD7A3;  // Hangul syllables
}

int combining_class(utf8proc_int32_t c) { return utf8proc_get_property(c)->combining_class; }

void decompose(std::string_view text, UnicodeForm form, std::vector<utf8proc_int32_t>& out) {
  const bool compatibility = form == UnicodeForm::kNfkc || form == UnicodeForm::kNfkd;
  const int options = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | (compatibility ? UTF8PROC_COMPAT : 0);
  std::array<utf8proc_int32_t, 32> buffer;  // the longest decomposition has 18
  for_each_char(text, [&](char32_t c, std::size_t, int) {
    const utf8proc_ssize_t count =
        utf8proc_decompose_char(static_cast<utf8proc_int32_t>(c), buffer.data(), buffer.size(),
                                static_cast<utf8proc_option_t>(options), nullptr);
    if (count < 0 || count > static_cast<utf8proc_ssize_t>(buffer.size())) {
      out.push_back(static_cast<utf8proc_int32_t>(c));
    } else {
      out.insert(out.end(), buffer.begin(), buffer.begin() + count);
    }
  });
}

void order_marks(std::vector<utf8proc_int32_t>& characters) {
  const auto is_starter = [](utf8proc_int32_t c) { return combining_class(c) == 0; };
  for (auto begin = characters.begin(); begin != characters.end();) {
    begin = std::find_if_not(begin, characters.end(), is_starter);
    const auto end = std::find_if(begin, characters.end(), is_starter);
    std::stable_sort(begin, end, [](utf8proc_int32_t a, utf8proc_int32_t b) {
      return combining_class(a) < combining_class(b);
    });
    begin = end;
  }
}

void append_normalized(std::string& result, std::string_view stretch, UnicodeForm form) {
  std::vector<utf8proc_int32_t> characters;
  characters.reserve(stretch.size());
  decompose(stretch, form, characters);
  order_marks(characters);
  if (composes(form)) {
    const utf8proc_ssize_t count = utf8proc_normalize_utf32(
        characters.data(), static_cast<utf8proc_ssize_t>(characters.size()),
        static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
    if (count >= 0) characters.resize(static_cast<std::size_t>(count));
  }
  for (const utf8proc_int32_t c : characters) append_utf8(result, static_cast<char32_t>(c));
}

}  // namespace

std::string normalize_unicode(std::string_view text, UnicodeForm form) {
  std::string result;
  result.reserve(text.size());
  std::size_t copied = 0;      // text[0, copied) is in `result`
  std::size_t last_inert = 0;  // begin of the inert character before `begin`
  for (std::size_t begin = 0; begin < text.size();) {
    const CharAt at = char_at(text, begin);
    if (is_inert(at.character, form)) {
      last_inert = begin;
      begin += at.length;
      continue;
    }
    std::size_t end = begin + at.length;
    while (end < text.size()) {
      const CharAt next = char_at(text, end);
      if (is_inert(next.character, form)) break;
      end += next.length;
    }
    const std::size_t from = std::max(copied, last_inert);  // a mark may join the character before
    result += text.substr(copied, from - copied);
    append_normalized(result, text.substr(from, end - from), form);
    copied = begin = last_inert = end;
  }
  result += text.substr(copied);
  return result;
}

}  // namespace tutti::text
