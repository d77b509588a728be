#include "dialects/field_reader.h"

#include <fmt/format.h>

#include <boost/json.hpp>
#include <cmath>

namespace tutti::dialects {
namespace {

// At most this many bytes of a client's own words come back in a message.
constexpr std::size_t kMaxEchoBytes = 64;

// A client's words for a message or the log: on one line, and cut at a character.
std::string shortened(std::string_view text) {
  std::size_t end = std::min(text.size(), kMaxEchoBytes);
  while (end > 0 && end < text.size() && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) {
    --end;
  }
  std::string out(text.substr(0, end));
  for (char& c : out) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) c = '?';
  }
  if (end < text.size()) out += "…";
  return out;
}

std::string describe_value(const json::value& value) {
  switch (value.kind()) {
    case json::kind::null:
      return "null";
    case json::kind::bool_:
      return value.get_bool() ? "true" : "false";
    case json::kind::int64:
      return fmt::format("{}", value.get_int64());
    case json::kind::uint64:
      return fmt::format("{}", value.get_uint64());
    case json::kind::double_:
      return fmt::format("{}", value.get_double());
    case json::kind::string:
      return "the string " + shortened(write_json(value));
    case json::kind::array:
      return value.get_array().empty() ? "an empty list" : "a list";
    case json::kind::object:
      return "an object";
  }
  return "another type";
}

// The value as a double; NaN when it is no number.
double as_number(const json::value& value) {
  if (value.is_int64()) return static_cast<double>(value.get_int64());
  if (value.is_uint64()) return static_cast<double>(value.get_uint64());
  if (value.is_double()) return value.get_double();
  return std::nan("");
}

bool same_value(const json::value& a, const json::value& b) {
  if (a.is_number() && b.is_number()) return as_number(a) == as_number(b);
  return a == b;
}

// The parts of "a | b | c"; none for "".
std::vector<std::string_view> split_values(std::string_view values) {
  constexpr std::string_view kSeparator = " | ";
  std::vector<std::string_view> parts;
  while (!values.empty()) {
    const std::size_t end = std::min(values.find(kSeparator), values.size());
    parts.push_back(values.substr(0, end));
    values.remove_prefix(std::min(end + kSeparator.size(), values.size()));
  }
  return parts;
}

}  // namespace

std::string describe(const NumberRange& range) {
  return fmt::format("number in {}{}, {}]", range.min_is_open ? '(' : '[', range.min, range.max);
}

std::string describe(const IntegerRange& range) {
  if (range.min == std::numeric_limits<std::int64_t>::min()) return "integer of 64 bits";
  return fmt::format("integer in [{}, {}]", range.min, range.max);
}

Status wrong_value(const FieldInput& input, std::string_view expected) {
  return invalid_argument(input.path, fmt::format("`{}` must be {}, got {}", input.path, expected,
                                                  describe_value(input.value)));
}

Status read_number(const FieldInput& input, const NumberRange& range, double& out) {
  const double number = as_number(input.value);
  const bool above_min = range.min_is_open ? number > range.min : number >= range.min;
  if (!std::isfinite(number) || !above_min || number > range.max) {
    return wrong_value(input, "a " + describe(range));
  }
  out = number;
  return {};
}

Status read_integer(const FieldInput& input, const IntegerRange& range, std::int64_t& out) {
  // A double holds every integer up to this one exactly.
  constexpr double kMaxExactInteger = 9007199254740992.0;
  std::int64_t integer = 0;
  if (input.value.is_int64()) {
    integer = input.value.get_int64();
  } else if (input.value.is_double() &&
             std::trunc(input.value.get_double()) == input.value.get_double() &&
             std::abs(input.value.get_double()) <= kMaxExactInteger) {
    integer = static_cast<std::int64_t>(input.value.get_double());
  } else {
    return wrong_value(input, "an " + describe(range));
  }
  if (integer < range.min || integer > range.max)
    return wrong_value(input, "an " + describe(range));
  out = integer;
  return {};
}

Status read_integer(const FieldInput& input, const IntegerRange& range, int& out) {
  std::int64_t integer = 0;
  TUTTI_RETURN_IF_ERROR(read_integer(input, range, integer));
  out = static_cast<int>(integer);
  return {};
}

Status read_boolean(const FieldInput& input, bool& out) {
  if (!input.value.is_bool()) return wrong_value(input, "a boolean");
  out = input.value.get_bool();
  return {};
}

Status read_string(const FieldInput& input, std::size_t max_bytes, std::string& out) {
  if (!input.value.is_string()) return wrong_value(input, "a string");
  const json::string& text = input.value.get_string();
  if (text.size() > max_bytes) {
    return invalid_argument(input.path, fmt::format("`{}` has {} bytes, the limit is {}",
                                                    input.path, text.size(), max_bytes));
  }
  out.assign(text.data(), text.size());
  return {};
}

Status read_stop_strings(const FieldInput& input, std::size_t max_count,
                         std::vector<std::string>& out) {
  constexpr std::size_t kMaxStopBytes = 1024;
  std::vector<FieldInput> items;
  if (input.value.is_array()) {
    TUTTI_ASSIGN_OR_RETURN(const json::array* list, read_array(input, max_count));
    for (std::size_t i = 0; i < list->size(); ++i) {
      items.push_back({(*list)[i], fmt::format("{}[{}]", input.path, i)});
    }
  } else if (input.value.is_string()) {
    items.push_back(input);
  } else {
    return wrong_value(input, "a string or a list of strings");
  }
  out.clear();
  for (const FieldInput& item : items) {
    std::string text;
    TUTTI_RETURN_IF_ERROR(read_string(item, kMaxStopBytes, text));
    if (text.empty()) return wrong_value(item, "a string that is not empty");
    out.push_back(std::move(text));
  }
  return {};
}

Status read_token_ids(const FieldInput& input, std::size_t max_count, std::vector<TokenId>& out) {
  TUTTI_ASSIGN_OR_RETURN(const json::array* list, read_array(input, max_count));
  out.clear();
  out.reserve(list->size());
  for (std::size_t i = 0; i < list->size(); ++i) {
    const json::value& item = (*list)[i];
    if (!item.is_int64() || item.get_int64() < 0 ||
        item.get_int64() > std::numeric_limits<TokenId>::max()) {
      return wrong_value({item, fmt::format("{}[{}]", input.path, i)}, "a token id (integer >= 0)");
    }
    out.push_back(static_cast<TokenId>(item.get_int64()));
  }
  return {};
}

Result<const json::object*> read_object(const FieldInput& input) {
  if (!input.value.is_object()) return wrong_value(input, "an object");
  return &input.value.get_object();
}

Result<const json::array*> read_array(const FieldInput& input, std::size_t max_count) {
  if (!input.value.is_array()) return wrong_value(input, "a list");
  const json::array& list = input.value.get_array();
  if (list.size() > max_count) {
    return invalid_argument(input.path, fmt::format("`{}` has {} items, the limit is {}",
                                                    input.path, list.size(), max_count));
  }
  return &list;
}

Result<json::object> parse_body(std::string_view body) {
  TUTTI_ASSIGN_OR_RETURN(json::value value, parse_json(body));
  if (!value.is_object()) return invalid_argument("", "the body must be a JSON object");
  return std::move(value.get_object());
}

bool has_field(const json::object& object, std::string_view name) {
  const json::value* value = object.if_contains(name);
  return value != nullptr && !value->is_null();
}

Status refuse_unless(const FieldInput& input, std::string_view off) {
  for (std::string_view value : split_values(off)) {
    if (same_value(input.value, json::parse(value))) return {};
  }
  std::string message = fmt::format("`{}` is not supported", input.path);
  if (!off.empty()) message += fmt::format(" (only {} is accepted)", off);
  return unsupported(std::move(message), input.path);
}

std::string field_path(std::string_view path, std::string_view name) {
  return path.empty() ? shortened(name) : fmt::format("{}.{}", path, shortened(name));
}

Status unknown_field(std::string_view path, std::string_view name) {
  const std::string full = field_path(path, name);
  return invalid_argument(full, "Unrecognized request argument supplied: " + full);
}

std::string render_field_table(const std::vector<FieldDoc>& docs) {
  std::string table = "| field | | values | meaning |\n|---|---|---|---|\n";
  for (const FieldDoc& doc : docs) {
    const char* support = doc.support == Support::kHonoured   ? "honoured"
                          : doc.support == Support::kAccepted ? "accepted"
                                                              : "refused";
    std::string values = doc.values;
    if (doc.support == Support::kRefused) {
      values = "only `null`";
      for (std::string_view off : split_values(doc.values)) values += fmt::format(", `{}`", off);
    }
    table += fmt::format("| `{}` | {} | {} | {} |\n", doc.name, support, values, doc.meaning);
  }
  return table;
}

}  // namespace tutti::dialects
