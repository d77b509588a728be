#include "text/jinja/arguments.h"

#include <algorithm>
#include <limits>

namespace tutti::text::jinja {

Parameters::Parameters(Machine& machine, std::string_view function, const Arguments& arguments,
                       std::initializer_list<std::string_view> names)
    : machine_(machine), function_(function), names_(names), values_(names.size(), nullptr) {
  const std::string name(function);
  if (arguments.positional.size() > names.size()) {
    fail("{}() takes at most {} arguments ({} given)", name, names.size(),
         arguments.positional.size());
  }
  for (std::size_t i = 0; i < arguments.positional.size(); ++i) {
    values_[i] = &arguments.positional[i];
  }
  for (const auto& [key, value] : arguments.keyword) {
    const auto found = std::find(names_.begin(), names_.end(), key);
    if (found == names_.end()) {
      fail("{}() got an unexpected keyword argument '{}'", name, key);
    }
    auto& slot = values_[static_cast<std::size_t>(found - names_.begin())];
    if (slot != nullptr) fail("{}() got multiple values for argument '{}'", name, key);
    slot = &value;
  }
}

const Value& Parameters::require(std::size_t i) const {
  if (values_[i] == nullptr) {
    fail("{}() missing required argument: '{}'", function_, names_[i]);
  }
  return *values_[i];
}

Value Parameters::value(std::size_t i, const Value& otherwise) const {
  return has(i) ? *values_[i] : otherwise;
}

bool Parameters::boolean(std::size_t i, bool otherwise) const {
  return has(i) ? truthy(*values_[i]) : otherwise;
}

Integer Parameters::integer(std::size_t i, Integer otherwise) const {
  if (!has(i)) return otherwise;
  require_defined(*values_[i]);
  if (!values_[i]->is_integral()) {
    fail("'{}' object cannot be interpreted as an integer", type_name(*values_[i]));
  }
  return values_[i]->as_integer();
}

int Parameters::small_integer(std::size_t i, int otherwise) const {
  using Limits = std::numeric_limits<int>;
  return static_cast<int>(std::clamp<Integer>(integer(i, otherwise), Limits::min(), Limits::max()));
}

Text Parameters::text(std::size_t i, std::string_view otherwise) const {
  if (!has(i)) return Text::make(machine_.budget(), otherwise, false);
  return machine_.to_text(*values_[i]);
}

Text Parameters::string(std::size_t i) const {
  const Value& value = require(i);
  require_defined(value);
  if (!value.is_string()) {
    fail("{}() argument '{}' must be str, not {}", function_, names_[i], type_name(value));
  }
  return value.as_text();
}

AttributeGetter::AttributeGetter(Machine& machine, const Value* attribute, bool ignore_case,
                                 const Value* otherwise)
    : machine_(machine), ignore_case_(ignore_case), otherwise_(otherwise) {
  if (attribute == nullptr || attribute->is_none()) return;
  if (!attribute->is_string()) {
    path_.push_back(*attribute);
    return;
  }
  const std::string_view text = attribute->view();
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find('.', begin), text.size());
    const std::string_view part = text.substr(begin, end - begin);
    const bool is_index = !part.empty() && part.size() < 10 &&
                          part.find_first_not_of("0123456789") == std::string_view::npos;
    path_.push_back(is_index ? Value::integer(std::stoi(std::string(part)))
                             : machine.heap().string(part));
    begin = end + 1;
  }
}

Value AttributeGetter::operator()(const Value& value) const {
  machine_.budget().spend(1);
  Value result = value;
  for (const Value& part : path_) {
    result = machine_.item(result, part);
    if (otherwise_ != nullptr && result.is_undefined()) result = *otherwise_;
  }
  if (ignore_case_ && result.is_string()) {
    return Value::string(lower_text(machine_.budget(), result.as_text()));
  }
  return result;
}

Text escape_text(Budget& budget, const Text& text) {
  if (text.is_markup()) return text;
  const Text escaped = map_text(budget, text, [](std::string& out, char32_t value) {
    switch (value) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&#34;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        append_utf8(out, value);
    }
  });
  return escaped.with_markup(true);
}

Text lower_text(Budget& budget, const Text& text) { return map_text(budget, text, append_lower); }

Text upper_text(Budget& budget, const Text& text) { return map_text(budget, text, append_upper); }

Text capitalise_text(Budget& budget, const Text& text) {
  bool is_first = true;
  return map_text(budget, text, [&](std::string& out, char32_t value) {
    std::exchange(is_first, false) ? append_title(out, value) : append_lower(out, value);
  });
}

Text replace_text(Budget& budget, const Text& text, const Text& old, const Text& replacement,
                  Integer count) {
  TextBuilder out(budget);
  const std::string_view view = text.view();
  std::size_t copied = 0;
  std::size_t position = 0;
  for (; count != 0; --count) {
    const std::size_t found = find_bytes(view, old.view(), position);
    if (found == std::string_view::npos) break;
    budget.spend(1);
    out.append_range(text, copied, found);
    out.append(replacement);
    copied = found + old.size();
    position = copied;
    if (!old.empty()) continue;
    if (position >= view.size()) break;
    position += code_point_at(view, position).length;
  }
  out.append_range(text, copied, view.size());
  return out.finish().with_markup(text.is_markup());
}

std::vector<Text> split_lines(Budget& budget, const Text& text, bool keep_ends) {
  std::vector<Text> lines;
  const std::string_view view = text.view();
  std::size_t begin = 0;
  for (std::size_t i = 0; i < view.size();) {
    const CodePoint point = code_point_at(view, i);
    if (!is_line_break(point.value)) {
      i += point.length;
      continue;
    }
    std::size_t end = i + point.length;
    if (point.value == '\r' && end < view.size() && view[end] == '\n') ++end;
    lines.push_back(slice_text(budget, text, begin, keep_ends ? end : i));
    budget.spend(1);
    begin = i = end;
  }
  if (begin < view.size()) lines.push_back(slice_text(budget, text, begin, view.size()));
  return lines;
}

Text pad_text(Budget& budget, const Text& text, std::size_t left, std::size_t right,
              const Text& fill) {
  budget.spend(static_cast<std::int64_t>((left / 8) + (right / 8)));
  TextBuilder out(budget);
  for (std::size_t i = 0; i < left; ++i) out.append(fill);
  out.append(text);
  for (std::size_t i = 0; i < right; ++i) out.append(fill);
  return out.finish().with_markup(text.is_markup());
}

}  // namespace tutti::text::jinja
