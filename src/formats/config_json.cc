#include <fmt/format.h>

#include "base/json.h"
#include "formats/model_source.h"

namespace tutti::formats {
namespace {

constexpr std::string_view kNonFinite[] = {"NaN", "-Infinity", "Infinity"};

// Replaces Python's three literals by null wherever they stand outside strings. Each is at least
// three characters long, and what else may follow them is left for the JSON parser to refuse.
std::string without_non_finite(std::string_view text) {
  std::string result;
  result.reserve(text.size());
  bool in_string = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string && c == '\\' && i + 1 < text.size()) {
      result.append(text.substr(i, 2));
      ++i;
      continue;
    }
    if (c == '"') in_string = !in_string;
    std::string_view literal;
    if (!in_string && (c == 'N' || c == '-' || c == 'I')) {
      for (const std::string_view candidate : kNonFinite) {
        if (text.substr(i).starts_with(candidate)) literal = candidate;
      }
    }
    if (literal.empty()) {
      result += c;
    } else {
      result += "null";
      i += literal.size() - 1;
    }
  }
  return result;
}

}  // namespace

Result<json::object> parse_config_json(std::string_view text, const std::string& file_name) {
  constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";
  if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
  JsonLimits limits;
  limits.allow_duplicate_keys = true;
  auto value = parse_json(without_non_finite(text), limits);
  if (!value.ok()) return value.status().with_context(file_name);
  if (!value->is_object()) return corrupt(file_name + ": must be a JSON object");
  return std::move(value->get_object());
}

}  // namespace tutti::formats
