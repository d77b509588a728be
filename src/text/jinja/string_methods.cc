// Methods of str that make strings.
#include <algorithm>
#include <array>

#include "text/jinja/arguments.h"
#include "text/jinja/format.h"
#include "text/jinja/method_table.h"

namespace tutti::text::jinja {
namespace {

Value text_slice(Machine& machine, const Value& self, std::size_t begin, std::size_t end) {
  return Value::string(slice_text(machine.budget(), self.as_text(), begin, end));
}

// Markup escapes what it is combined with.
Text like(Machine& machine, const Value& self, const Text& argument) {
  return self.as_text().is_markup() ? escape_text(machine.budget(), argument) : argument;
}

template <StripSide kSide>
Value strip(Machine& machine, const Value& self, const Arguments& arguments) {
  const Parameters parameters(machine, "strip", arguments, {"chars"});
  machine.budget().spend_for_bytes(self.as_text().size());
  const StripRange range = parameters.has_value(0)
                               ? strip_range(self.view(), parameters.string(0).view(), kSide)
                               : strip_range(self.view(), kSide);
  return text_slice(machine, self, range.begin, range.end);
}

Value replace(Machine& machine, const Value& self, const Arguments& arguments) {
  const Parameters parameters(machine, "replace", arguments, {"old", "new", "count"});
  const Integer count = parameters.integer(2, -1);
  return Value::string(replace_text(machine.budget(), self.as_text(),
                                    like(machine, self, parameters.string(0)),
                                    like(machine, self, parameters.string(1)), count));
}

// Pieces between white space, from the left, at most `count` + 1 of them.
std::vector<Value> split_space(Machine& machine, const Value& self, Integer count) {
  std::vector<Value> parts;
  const std::string_view view = self.view();
  std::size_t position = strip_range(view, StripSide::kLeft).begin;
  while (position < view.size()) {
    if (count >= 0 && static_cast<Integer>(parts.size()) == count) {
      parts.push_back(text_slice(machine, self, position, view.size()));
      break;
    }
    std::size_t end = position;
    while (end < view.size() && !is_space(code_point_at(view, end).value)) {
      end += code_point_at(view, end).length;
    }
    parts.push_back(text_slice(machine, self, position, end));
    position = end + strip_range(view.substr(end), StripSide::kLeft).begin;
  }
  return parts;
}

// The same from the right.
std::vector<Value> rsplit_space(Machine& machine, const Value& self, Integer count) {
  std::vector<Value> parts;
  const std::string_view view = self.view();
  std::size_t end = strip_range(view, StripSide::kRight).end;
  while (end > 0) {
    if (count >= 0 && static_cast<Integer>(parts.size()) == count) {
      parts.push_back(text_slice(machine, self, 0, end));
      break;
    }
    std::size_t begin = end;
    while (begin > 0) {
      const std::size_t before = previous_code_point(view, begin);
      if (is_space(code_point_at(view, before).value)) break;
      begin = before;
    }
    parts.push_back(text_slice(machine, self, begin, end));
    end = strip_range(view.substr(0, begin), StripSide::kRight).end;
  }
  return {parts.rbegin(), parts.rend()};
}

std::vector<Value> split_at(Machine& machine, const Value& self, std::string_view separator,
                            Integer count) {
  std::vector<Value> parts;
  std::size_t begin = 0;
  while (count < 0 || static_cast<Integer>(parts.size()) < count) {
    const std::size_t found = find_bytes(self.view(), separator, begin);
    if (found == std::string_view::npos) break;
    machine.budget().spend(1);
    parts.push_back(text_slice(machine, self, begin, found));
    begin = found + separator.size();
  }
  parts.push_back(text_slice(machine, self, begin, self.view().size()));
  return parts;
}

std::vector<Value> rsplit_at(Machine& machine, const Value& self, std::string_view separator,
                             Integer count) {
  std::vector<Value> parts;
  std::size_t end = self.view().size();
  // Searching backwards compares up to a whole separator at each byte.
  machine.budget().spend_for_bytes(end * std::min<std::size_t>(separator.size(), 1 << 20));
  while (count < 0 || static_cast<Integer>(parts.size()) < count) {
    const std::size_t found = self.view().substr(0, end).rfind(separator);
    if (found == std::string_view::npos) break;
    machine.budget().spend(1);
    parts.push_back(text_slice(machine, self, found + separator.size(), end));
    end = found;
  }
  parts.push_back(text_slice(machine, self, 0, end));
  return {parts.rbegin(), parts.rend()};
}

template <bool kFromRight>
Value split(Machine& machine, const Value& self, const Arguments& arguments) {
  const Parameters parameters(machine, "split", arguments, {"sep", "maxsplit"});
  const Integer count = parameters.integer(1, -1);
  machine.budget().spend_for_bytes(self.as_text().size());
  if (!parameters.has_value(0)) {
    return machine.heap().list(kFromRight ? rsplit_space(machine, self, count)
                                          : split_space(machine, self, count));
  }
  const Text separator = parameters.string(0);
  if (separator.empty()) fail("empty separator");
  return machine.heap().list(kFromRight ? rsplit_at(machine, self, separator.view(), count)
                                        : split_at(machine, self, separator.view(), count));
}

Value splitlines(Machine& machine, const Value& self, const Arguments& arguments) {
  const Parameters parameters(machine, "splitlines", arguments, {"keepends"});
  std::vector<Value> lines;
  for (Text& line : split_lines(machine.budget(), self.as_text(), parameters.boolean(0, false))) {
    lines.push_back(Value::string(std::move(line)));
  }
  return machine.heap().list(std::move(lines));
}

template <bool kFromRight>
Value partition(Machine& machine, const Value& self, const Arguments& arguments) {
  const Parameters parameters(machine, "partition", arguments, {"sep"});
  const Text separator = parameters.string(0);
  if (separator.empty()) fail("empty separator");
  const std::size_t cost = kFromRight ? std::min<std::size_t>(separator.size(), 1 << 20) : 1;
  machine.budget().spend_for_bytes(self.view().size() * cost);
  const std::size_t found = kFromRight ? self.view().rfind(separator.view())
                                       : find_bytes(self.view(), separator.view(), 0);
  const Value empty = Value::string(Text());
  if (found == std::string_view::npos) {
    return machine.heap().tuple(kFromRight ? std::vector<Value>{empty, empty, self}
                                           : std::vector<Value>{self, empty, empty});
  }
  const std::size_t behind = found + separator.size();
  return machine.heap().tuple({text_slice(machine, self, 0, found),
                               text_slice(machine, self, found, behind),
                               text_slice(machine, self, behind, self.view().size())});
}

Value join_with_self(Machine& machine, const Value& self, const Arguments& arguments) {
  const Parameters parameters(machine, "join", arguments, {"iterable"});
  TextBuilder out(machine.budget(), machine.max_output_bytes());
  std::size_t index = 0;
  for (const Value& item : machine.iterate(parameters.require(0))) {
    if (!item.is_string()) {
      fail("sequence item {}: expected str instance, {} found", index, type_name(item));
    }
    if (index++ > 0) out.append(self.as_text());
    out.append(like(machine, self, item.as_text()));
  }
  return Value::string(out.finish().with_markup(self.as_text().is_markup()));
}

Value lower(Machine& machine, const Value& self, const Arguments&) {
  return Value::string(lower_text(machine.budget(), self.as_text()));
}
Value upper(Machine& machine, const Value& self, const Arguments&) {
  return Value::string(upper_text(machine.budget(), self.as_text()));
}
Value capitalize(Machine& machine, const Value& self, const Arguments&) {
  return Value::string(capitalise_text(machine.budget(), self.as_text()));
}

Value title(Machine& machine, const Value& self, const Arguments&) {
  bool in_word = false;
  return Value::string(
      map_text(machine.budget(), self.as_text(), [&](std::string& out, char32_t value) {
        in_word ? append_lower(out, value) : append_title(out, value);
        in_word = is_alpha(value);
      }));
}

Value swapcase(Machine& machine, const Value& self, const Arguments&) {
  return Value::string(
      map_text(machine.budget(), self.as_text(), [](std::string& out, char32_t value) {
        is_upper(value) ? append_lower(out, value) : append_upper(out, value);
      }));
}

Value remove_prefix(Machine& machine, const Value& self, const Arguments& arguments) {
  const Parameters parameters(machine, "removeprefix", arguments, {"prefix"});
  const Text prefix = parameters.string(0);
  const bool has = self.view().starts_with(prefix.view());
  return text_slice(machine, self, has ? prefix.size() : 0, self.view().size());
}

Value remove_suffix(Machine& machine, const Value& self, const Arguments& arguments) {
  const Parameters parameters(machine, "removesuffix", arguments, {"suffix"});
  const Text suffix = parameters.string(0);
  const bool has = self.view().ends_with(suffix.view());
  return text_slice(machine, self, 0, self.view().size() - (has ? suffix.size() : 0));
}

enum class Side { kLeft, kRight, kCenter };

template <Side kSide>
Value justify(Machine& machine, const Value& self, const Arguments& arguments) {
  const Parameters parameters(machine, "ljust", arguments, {"width", "fillchar"});
  parameters.require(0);
  const Text fill = parameters.text(1, " ");
  if (count_code_points(fill.view()) != 1) {
    fail("The fill character must be exactly one character long");
  }
  const Integer width = parameters.integer(0, 0);
  machine.budget().spend_for_bytes(self.view().size());
  const auto size = static_cast<Integer>(count_code_points(self.view()));
  if (width <= size) return self;
  if (width > (Integer{1} << 30)) fail_limit("the template needs too much memory");
  const auto padding = static_cast<std::size_t>(width - size);
  std::size_t left = padding / 2 + (padding & static_cast<std::size_t>(width) & 1);
  if (kSide == Side::kLeft) left = 0;
  if (kSide == Side::kRight) left = padding;
  return Value::string(pad_text(machine.budget(), self.as_text(), left, padding - left, fill));
}

Value zfill(Machine& machine, const Value& self, const Arguments& arguments) {
  const Parameters parameters(machine, "zfill", arguments, {"width"});
  parameters.require(0);
  const Integer width = std::min<Integer>(parameters.integer(0, 0), Integer{1} << 30);
  machine.budget().spend_for_bytes(self.view().size());
  const auto size = static_cast<Integer>(count_code_points(self.view()));
  if (width <= size) return self;
  const bool has_sign = self.view().starts_with('-') || self.view().starts_with('+');
  const std::size_t sign = has_sign ? 1 : 0;
  const Text digits = slice_text(machine.budget(), self.as_text(), sign, self.view().size());
  const Text padded = pad_text(machine.budget(), digits, static_cast<std::size_t>(width - size), 0,
                               Text::literal("0"));
  return Value::string(
      concatenate(machine.budget(), slice_text(machine.budget(), self.as_text(), 0, sign), padded));
}

Value expandtabs(Machine& machine, const Value& self, const Arguments& arguments) {
  const Parameters parameters(machine, "expandtabs", arguments, {"tabsize"});
  const auto size = static_cast<std::size_t>(std::clamp(parameters.small_integer(0, 8), 0, 1024));
  std::size_t column = 0;
  return Value::string(
      map_text(machine.budget(), self.as_text(), [&](std::string& out, char32_t value) {
        if (value == '\t') {
          const std::size_t count = size == 0 ? 0 : size - column % size;
          out.append(count, ' ');
          column += count;
          return;
        }
        append_utf8(out, value);
        column = value == '\n' || value == '\r' ? 0 : column + 1;
      }));
}

Value format(Machine& machine, const Value& self, const Arguments& arguments) {
  return Value::string(format_braces(machine, self.as_text(), arguments));
}

Value format_map(Machine& machine, const Value& self, const Arguments& arguments) {
  const Parameters parameters(machine, "format_map", arguments, {"mapping"});
  Arguments names;
  if (!parameters.require(0).is(Kind::kDict)) fail("format_map() argument must be a dict");
  for (const auto& entry : parameters.require(0).as_dict().entries()) {
    if (entry.key.is_string()) {
      names.keyword.emplace_back(std::string(entry.key.view()), entry.value);
    }
  }
  return Value::string(format_braces(machine, self.as_text(), names));
}

constexpr std::array kStringMethods = {
    NamedMethod{"capitalize", capitalize},
    NamedMethod{"casefold", lower},
    NamedMethod{"center", justify<Side::kCenter>},
    NamedMethod{"expandtabs", expandtabs},
    NamedMethod{"format", format},
    NamedMethod{"format_map", format_map},
    NamedMethod{"join", join_with_self},
    NamedMethod{"ljust", justify<Side::kLeft>},
    NamedMethod{"lower", lower},
    NamedMethod{"lstrip", strip<StripSide::kLeft>},
    NamedMethod{"partition", partition<false>},
    NamedMethod{"removeprefix", remove_prefix},
    NamedMethod{"removesuffix", remove_suffix},
    NamedMethod{"replace", replace},
    NamedMethod{"rjust", justify<Side::kRight>},
    NamedMethod{"rpartition", partition<true>},
    NamedMethod{"rsplit", split<true>},
    NamedMethod{"rstrip", strip<StripSide::kRight>},
    NamedMethod{"split", split<false>},
    NamedMethod{"splitlines", splitlines},
    NamedMethod{"strip", strip<StripSide::kBoth>},
    NamedMethod{"swapcase", swapcase},
    NamedMethod{"title", title},
    NamedMethod{"upper", upper},
    NamedMethod{"zfill", zfill},
};

}  // namespace

std::span<const NamedMethod> string_methods() { return kStringMethods; }

}  // namespace tutti::text::jinja
