// Slices with Python's rules: [start:stop:step], each absent or counted from the end.
#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "text/jinja/machine.h"
#include "text/jinja/unicode.h"

namespace tutti::text::jinja {
namespace {

std::optional<Integer> bound(const Value& value) {
  if (value.is_none()) return std::nullopt;
  require_defined(value);
  if (!value.is_integral()) {
    fail("slice indices must be integers or None or have an __index__ method");
  }
  return value.as_integer();
}

// A slice of `count` items: the first index, the step, how many.
struct Range {
  Integer first = 0;
  Integer step = 1;
  std::size_t count = 0;
};

Range resolve(const Value& start, const Value& stop, const Value& step, std::size_t size) {
  const auto length = static_cast<Integer>(size);
  Range range;
  range.step = bound(step).value_or(1);
  if (range.step == 0) fail("slice step cannot be zero");
  const bool is_forward = range.step > 0;
  const auto clamp = [&](const Value& value, Integer otherwise) {
    const auto given = bound(value);
    if (!given) return otherwise;
    const Integer index = *given < 0 ? *given + length : *given;
    return std::clamp<Integer>(index, is_forward ? 0 : -1, is_forward ? length : length - 1);
  };
  range.first = clamp(start, is_forward ? 0 : length - 1);
  const Integer last = clamp(stop, is_forward ? length : -1);
  const Integer span = is_forward ? last - range.first : range.first - last;
  const Integer stride = is_forward ? range.step : -range.step;
  if (span > 0) range.count = static_cast<std::size_t>((span - 1) / stride + 1);
  return range;
}

Value slice_items(Machine& machine, const std::vector<Value>& items, const Range& range,
                  bool is_tuple) {
  std::vector<Value> chosen;
  machine.budget().spend(static_cast<std::int64_t>(range.count / 4));
  for (std::size_t i = 0; i < range.count; ++i) {
    chosen.push_back(
        items[static_cast<std::size_t>(range.first + static_cast<Integer>(i) * range.step)]);
  }
  return is_tuple ? machine.heap().tuple(std::move(chosen))
                  : machine.heap().list(std::move(chosen));
}

Value slice_string(Machine& machine, const Text& text, const Range& range) {
  Budget& budget = machine.budget();
  if (range.count == 0) return Value::string(Text());
  if (range.step == 1) {
    const std::size_t begin =
        byte_of_code_point(text.view(), static_cast<std::size_t>(range.first));
    const std::size_t end = begin + byte_of_code_point(text.view().substr(begin), range.count);
    return Value::string(slice_text(budget, text, begin, end));
  }
  budget.take(text.size() * sizeof(std::size_t));
  std::vector<std::size_t> starts;
  for (std::size_t i = 0; i < text.size(); i += code_point_at(text.view(), i).length) {
    starts.push_back(i);
  }
  starts.push_back(text.size());
  TextBuilder out(budget);
  for (std::size_t i = 0; i < range.count; ++i) {
    const auto at = static_cast<std::size_t>(range.first + static_cast<Integer>(i) * range.step);
    out.append_range(text, starts[at], starts[at + 1]);
  }
  budget.release(text.size() * sizeof(std::size_t));
  budget.spend(static_cast<std::int64_t>(range.count / 4));
  return Value::string(out.finish().with_markup(text.is_markup()));
}

}  // namespace

Value Machine::slice(const Value& value, const Value& start, const Value& stop, const Value& step) {
  require_defined(value);
  if (value.is_string()) {
    budget_.spend_for_bytes(value.as_text().size());
    const std::size_t size = count_code_points(value.view());
    return slice_string(*this, value.as_text(), resolve(start, stop, step, size));
  }
  if (value.is_sequence()) {
    const auto& items = value.as_sequence().items;
    return slice_items(*this, items, resolve(start, stop, step, items.size()),
                       value.is(Kind::kTuple));
  }
  if (value.is(Kind::kOther) && type_name(value) == "range") {
    const std::vector<Value> items = iterate(value);
    return slice_items(*this, items, resolve(start, stop, step, items.size()), false);
  }
  return Value::undefined(fmt::format("{} has no element slice", object_type_repr(value)));
}

}  // namespace tutti::text::jinja
