// Methods of str that answer a question, and the lookup of all methods.
#include <algorithm>
#include <array>
#include <cmath>

#include "text/jinja/arguments.h"
#include "text/jinja/method_table.h"

namespace tutti::text::jinja {
namespace {

constexpr std::string_view::size_type kNowhere = std::string_view::npos;

// The bytes of text[start:end], both counted in code points, negative ones from the end.
struct Window {
  std::size_t begin = 0;
  std::size_t end = 0;
  bool is_empty_range = false;  // start lies behind the end: nothing is found, not even ""
};

Window window_of(Machine& machine, const Parameters& parameters, std::string_view text,
                 std::size_t first) {
  Window window{0, text.size(), false};
  if (!parameters.has_value(first) && !parameters.has_value(first + 1)) return window;
  machine.budget().spend_for_bytes(2 * text.size());
  const auto size = static_cast<Integer>(count_code_points(text));
  const auto resolve = [&](std::size_t i, Integer otherwise) {
    Integer index = parameters.has_value(i) ? parameters.integer(i, otherwise) : otherwise;
    if (index < 0) index = std::max<Integer>(index + size, 0);
    return index;
  };
  const Integer start = resolve(first, 0);
  const Integer stop = std::min(resolve(first + 1, size), size);
  window.is_empty_range = start > size || start > stop;
  if (window.is_empty_range) return window;
  window.begin = byte_of_code_point(text, static_cast<std::size_t>(start));
  window.end = byte_of_code_point(text, static_cast<std::size_t>(stop));
  return window;
}

template <bool kAtEnd>
Value matches_end(Machine& machine, const Value& self, const Arguments& arguments) {
  const Parameters parameters(machine, kAtEnd ? "endswith" : "startswith", arguments,
                              {"prefix", "start", "end"});
  const Value& wanted = parameters.require(0);
  require_defined(wanted);
  const Window window = window_of(machine, parameters, self.view(), 1);
  if (window.is_empty_range) return Value::boolean(false);
  const std::string_view text = self.view().substr(window.begin, window.end - window.begin);
  const auto matches = [&](const Value& affix) {
    if (!affix.is_string()) {
      fail("{} first arg must be str or a tuple of str, not {}",
           std::string(kAtEnd ? "endswith" : "startswith"), type_name(affix));
    }
    return kAtEnd ? text.ends_with(affix.view()) : text.starts_with(affix.view());
  };
  if (!wanted.is(Kind::kTuple)) return Value::boolean(matches(wanted));
  for (const Value& affix : wanted.as_sequence().items) {
    if (matches(affix)) return Value::boolean(true);
  }
  return Value::boolean(false);
}

// The code point index where the needle is; nullopt when it is nowhere.
std::optional<Integer> index_of(Machine& machine, const Value& self, const Arguments& arguments,
                                bool from_right) {
  const Parameters parameters(machine, "find", arguments, {"sub", "start", "end"});
  const Text needle = parameters.string(0);
  const Window window = window_of(machine, parameters, self.view(), 1);
  machine.budget().spend_for_bytes(self.view().size());
  if (window.is_empty_range) return std::nullopt;
  const std::string_view text = self.view().substr(0, window.end);
  std::size_t found = kNowhere;
  if (from_right) {
    machine.budget().spend_for_bytes(text.size() * std::min<std::size_t>(needle.size(), 1 << 20));
    found = text.rfind(needle.view());
    if (found != kNowhere && found < window.begin) found = kNowhere;
  } else {
    found = find_bytes(text, needle.view(), window.begin);
  }
  if (found == kNowhere) return std::nullopt;
  return static_cast<Integer>(count_code_points(self.view().substr(0, found)));
}

template <bool kFromRight>
Value find(Machine& machine, const Value& self, const Arguments& arguments) {
  return Value::integer(index_of(machine, self, arguments, kFromRight).value_or(-1));
}

template <bool kFromRight>
Value index(Machine& machine, const Value& self, const Arguments& arguments) {
  const auto found = index_of(machine, self, arguments, kFromRight);
  if (!found) fail("substring not found");
  return Value::integer(*found);
}

Value count(Machine& machine, const Value& self, const Arguments& arguments) {
  const Parameters parameters(machine, "count", arguments, {"sub", "start", "end"});
  const Text needle = parameters.string(0);
  const Window window = window_of(machine, parameters, self.view(), 1);
  machine.budget().spend_for_bytes(self.view().size());
  if (window.is_empty_range) return Value::integer(0);
  const std::string_view text = self.view().substr(0, window.end);
  if (needle.empty()) {
    return Value::integer(static_cast<Integer>(count_code_points(text.substr(window.begin))) + 1);
  }
  Integer occurrences = 0;
  for (std::size_t at = find_bytes(text, needle.view(), window.begin); at != kNowhere;
       at = find_bytes(text, needle.view(), at + needle.size())) {
    ++occurrences;
  }
  return Value::integer(occurrences);
}

// Whether every character fits and there is at least one.
template <bool (*kFits)(char32_t)>
Value all_fit(Machine& machine, const Value& self, const Arguments&) {
  machine.budget().spend_for_bytes(self.view().size());
  for (std::size_t i = 0; i < self.view().size();) {
    const CodePoint point = code_point_at(self.view(), i);
    if (!kFits(point.value)) return Value::boolean(false);
    i += point.length;
  }
  return Value::boolean(!self.view().empty());
}

bool is_alphanumeric(char32_t value) { return is_alpha(value) || is_numeric(value); }

// Whether all letters are of one case and there is one.
template <bool (*kWanted)(char32_t), bool (*kOther)(char32_t)>
Value all_cased(Machine& machine, const Value& self, const Arguments&) {
  machine.budget().spend_for_bytes(self.view().size());
  bool has_letter = false;
  for (std::size_t i = 0; i < self.view().size();) {
    const CodePoint point = code_point_at(self.view(), i);
    if (kOther(point.value) || is_title(point.value)) return Value::boolean(false);
    has_letter |= kWanted(point.value);
    i += point.length;
  }
  return Value::boolean(has_letter);
}

Value is_ascii(Machine& machine, const Value& self, const Arguments&) {
  machine.budget().spend_for_bytes(self.view().size());
  return Value::boolean(
      std::all_of(self.view().begin(), self.view().end(), [](char c) { return (c & 0x80) == 0; }));
}

Value is_printable_text(Machine& machine, const Value& self, const Arguments&) {
  machine.budget().spend_for_bytes(self.view().size());
  for (std::size_t i = 0; i < self.view().size();) {
    const CodePoint point = code_point_at(self.view(), i);
    if (!is_printable(point.value)) return Value::boolean(false);
    i += point.length;
  }
  return Value::boolean(true);
}

Value is_identifier(Machine& machine, const Value& self, const Arguments&) {
  machine.budget().spend_for_bytes(self.view().size());
  bool is_first = true;
  for (std::size_t i = 0; i < self.view().size();) {
    const CodePoint point = code_point_at(self.view(), i);
    const bool fits =
        point.value == '_' || is_alpha(point.value) || (!is_first && is_decimal(point.value));
    if (!fits) return Value::boolean(false);
    is_first = false;
    i += point.length;
  }
  return Value::boolean(!is_first);
}

Value is_title_text(Machine& machine, const Value& self, const Arguments&) {
  machine.budget().spend_for_bytes(self.view().size());
  bool in_word = false, has_letter = false;
  for (std::size_t i = 0; i < self.view().size();) {
    const CodePoint point = code_point_at(self.view(), i);
    i += point.length;
    const bool starts = is_upper(point.value) || is_title(point.value);
    if (starts ? in_word : (is_lower(point.value) && !in_word)) return Value::boolean(false);
    in_word = starts || is_lower(point.value);
    has_letter |= in_word;
  }
  return Value::boolean(has_letter);
}

Value is_integer(Machine&, const Value& self, const Arguments&) {
  const double value = self.as_real();
  return Value::boolean(std::floor(value) == value && std::isfinite(value));
}

constexpr std::array kStringQueryMethods = {
    NamedMethod{"count", count},
    NamedMethod{"endswith", matches_end<true>},
    NamedMethod{"find", find<false>},
    NamedMethod{"index", index<false>},
    NamedMethod{"isalnum", all_fit<is_alphanumeric>},
    NamedMethod{"isalpha", all_fit<is_alpha>},
    NamedMethod{"isascii", is_ascii},
    NamedMethod{"isdecimal", all_fit<is_decimal>},
    NamedMethod{"isdigit", all_fit<is_decimal>},
    NamedMethod{"isidentifier", is_identifier},
    NamedMethod{"islower", all_cased<is_lower, is_upper>},
    NamedMethod{"isnumeric", all_fit<is_numeric>},
    NamedMethod{"isprintable", is_printable_text},
    NamedMethod{"isspace", all_fit<is_space>},
    NamedMethod{"istitle", is_title_text},
    NamedMethod{"isupper", all_cased<is_upper, is_lower>},
    NamedMethod{"rfind", find<true>},
    NamedMethod{"rindex", index<true>},
    NamedMethod{"startswith", matches_end<false>},
};

constexpr std::array kNumberMethods = {NamedMethod{"is_integer", is_integer}};

MethodFunction find_in(std::span<const NamedMethod> methods, std::string_view name) {
  for (const auto& method : methods) {
    if (method.name == name) return method.function;
  }
  return nullptr;
}

}  // namespace

std::span<const NamedMethod> string_query_methods() { return kStringQueryMethods; }

MethodFunction find_method(const Value& self, std::string_view name) {
  switch (self.kind()) {
    case Kind::kString:
      if (const auto method = find_in(string_methods(), name)) return method;
      return find_in(string_query_methods(), name);
    case Kind::kList:
      return find_in(list_methods(), name);
    case Kind::kTuple:
      return name == "index" || name == "count" ? find_in(list_methods(), name) : nullptr;
    case Kind::kDict:
      return find_in(dict_methods(), name);
    case Kind::kReal:
    case Kind::kInteger:
      return find_in(kNumberMethods, name);
    default:
      return nullptr;
  }
}

}  // namespace tutti::text::jinja
