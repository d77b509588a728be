#include "text/text_pattern.h"

#include <utility>

namespace tutti::text {

Result<TextPattern> TextPattern::compile(const PatternSpec& spec) {
  TextPattern pattern;
  if (spec.is_regex) {
    TUTTI_ASSIGN_OR_RETURN(pattern.regex_, Regex::compile(spec.text));
  } else {
    pattern.literal_ = spec.text;
  }
  return pattern;
}

std::string TextPattern::replace_all(std::string_view text, std::string_view content) const {
  std::string result;
  result.reserve(text.size());
  std::size_t copied = 0;
  Finder(*this).for_each_match(text, [&](TextSpan match) {
    result += text.substr(copied, match.begin - copied);
    result += content;
    copied = match.end;
  });
  result += text.substr(copied);
  return result;
}

}  // namespace tutti::text
