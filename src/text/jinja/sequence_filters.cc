// Filters whose subject is a sequence.
#include <algorithm>
#include <array>
#include <memory>

#include "text/jinja/arguments.h"
#include "text/jinja/filter_table.h"
#include "text/jinja/functions.h"
#include "text/jinja/objects.h"
#include "text/jinja/operators.h"

namespace tutti::text::jinja {
namespace {

Value iterator(Machine& machine, std::string name, IteratorObject::Source source) {
  return Value::object(machine.heap().make<IteratorObject>(std::move(name), std::move(source)));
}

Value first(Machine& machine, const Value& input, const Arguments&) {
  const auto none = [] { return Value::undefined("No first item, sequence was empty."); };
  if (input.is(Kind::kOther)) {
    if (auto* source = dynamic_cast<IteratorObject*>(input.as_object())) {
      return source->next(machine).value_or(none());
    }
  }
  if (input.is_string()) {
    return input.as_text().empty() ? none() : machine.item(input, Value::integer(0));
  }
  if (input.is_sequence() && !input.as_sequence().items.empty()) {
    return input.as_sequence().items.front();
  }
  const std::vector<Value> items = machine.iterate(input);
  return items.empty() ? none() : items.front();
}

Value last(Machine& machine, const Value& input, const Arguments&) {
  if (input.is_string()) {
    return input.as_text().empty() ? Value::undefined("No last item, sequence was empty.")
                                   : machine.item(input, Value::integer(-1));
  }
  const std::vector<Value> items = machine.iterate(input);
  return items.empty() ? Value::undefined("No last item, sequence was empty.") : items.back();
}

// There is no chance in a prompt: always the first.
Value random(Machine& machine, const Value& input, const Arguments& arguments) {
  return first(machine, input, arguments);
}

Value list(Machine& machine, const Value& input, const Arguments&) {
  return machine.heap().list(machine.iterate(input));
}

Value join(Machine& machine, const Value& input, const Arguments& arguments) {
  const Parameters parameters(machine, "join", arguments, {"d", "attribute"});
  const Text separator = parameters.text(0, "");
  const Value attribute = parameters.value(1);
  const AttributeGetter get(machine, &attribute, false);
  TextBuilder out(machine.budget(), machine.max_output_bytes());
  bool is_first = true;
  for (const Value& item : machine.iterate(input)) {
    if (!std::exchange(is_first, false)) out.append(separator);
    machine.append_text(out, get(item));
  }
  return Value::string(out.finish());
}

Value reverse(Machine& machine, const Value& input, const Arguments&) {
  if (input.is_string()) {
    return machine.slice(input, Value(), Value(), Value::integer(-1));
  }
  const bool is_list = input.is(Kind::kList);
  return iterator(machine, is_list ? "list_reverseiterator" : "reversed", [input](Machine& m) {
    const std::vector<Value> items = m.iterate(input);
    return std::vector<Value>(items.rbegin(), items.rend());
  });
}

// Sorts stably, with the items' keys made once.
std::vector<Value> sorted(Machine& machine, std::vector<Value> items,
                          const std::function<Value(const Value&)>& key, bool is_reverse) {
  std::vector<std::pair<Value, Value>> keyed;
  keyed.reserve(items.size());
  for (Value& item : items) {
    Value its_key = key(item);
    keyed.emplace_back(std::move(its_key), std::move(item));
  }
  std::stable_sort(keyed.begin(), keyed.end(), [&](const auto& a, const auto& b) {
    machine.budget().spend(1);
    return is_reverse ? compare(machine.budget(), b.first, a.first, "<") == -1
                      : compare(machine.budget(), a.first, b.first, "<") == -1;
  });
  for (std::size_t i = 0; i < keyed.size(); ++i) items[i] = std::move(keyed[i].second);
  return items;
}

// The getters of "age,name": one for each name.
std::vector<AttributeGetter> getters_of(Machine& machine, const Value& attribute,
                                        bool ignore_case) {
  std::vector<AttributeGetter> getters;
  if (!attribute.is_string()) {
    getters.emplace_back(machine, &attribute, ignore_case);
    return getters;
  }
  const Text& text = attribute.as_text();
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.view().find(',', begin), text.size());
    const Value part = Value::string(slice_text(machine.budget(), text, begin, end));
    getters.emplace_back(machine, &part, ignore_case);
    begin = end + 1;
  }
  return getters;
}

Value sort(Machine& machine, const Value& input, const Arguments& arguments) {
  const Parameters parameters(machine, "sort", arguments,
                              {"reverse", "case_sensitive", "attribute"});
  const auto getters = getters_of(machine, parameters.value(2), !parameters.boolean(1, false));
  const auto key = [&](const Value& item) {
    if (getters.size() == 1) return getters.front()(item);
    std::vector<Value> keys;
    for (const auto& get : getters) keys.push_back(get(item));
    return machine.heap().list(std::move(keys));
  };
  return machine.heap().list(
      sorted(machine, machine.iterate(input), key, parameters.boolean(0, false)));
}

Value dictsort(Machine& machine, const Value& input, const Arguments& arguments) {
  const Parameters parameters(machine, "dictsort", arguments, {"case_sensitive", "by", "reverse"});
  require_defined(input);
  if (!input.is(Kind::kDict)) fail("'{}' object has no attribute 'items'", type_name(input));
  const Text by = parameters.text(1, "key");
  if (by.view() != "key" && by.view() != "value") {
    fail("You can only sort by either \"key\" or \"value\"");
  }
  std::vector<Value> pairs;
  for (const auto& entry : input.as_dict().entries()) {
    pairs.push_back(machine.heap().tuple({entry.key, entry.value}));
  }
  const AttributeGetter fold(machine, nullptr, !parameters.boolean(0, false));
  const std::size_t part = by.view() == "key" ? 0 : 1;
  const auto key = [&](const Value& pair) { return fold(pair.as_sequence().items[part]); };
  return machine.heap().list(sorted(machine, std::move(pairs), key, parameters.boolean(2, false)));
}

Value unique(Machine& machine, const Value& input, const Arguments& arguments) {
  const Parameters parameters(machine, "unique", arguments, {"case_sensitive", "attribute"});
  const bool ignores_case = !parameters.boolean(0, false);
  return iterator(machine, "generator",
                  [input, ignores_case, attribute = parameters.value(1)](Machine& m) {
                    const AttributeGetter get(m, &attribute, ignores_case);
                    Dict* seen = m.heap().dict();
                    std::vector<Value> kept;
                    for (const Value& item : m.iterate(input)) {
                      const Value key = get(item);
                      if (seen->find(m.budget(), key) != nullptr) continue;
                      m.heap().put(*seen, key, Value());
                      kept.push_back(item);
                    }
                    return kept;
                  });
}

Value extreme(Machine& machine, const Value& input, const Arguments& arguments, bool wants_max) {
  const Parameters parameters(machine, wants_max ? "max" : "min", arguments,
                              {"case_sensitive", "attribute"});
  const Value attribute = parameters.value(1);
  const AttributeGetter get(machine, &attribute, !parameters.boolean(0, false));
  const std::vector<Value> items = machine.iterate(input);
  if (items.empty()) return Value::undefined("No aggregated item, sequence was empty.");
  std::size_t best = 0;
  Value best_key = get(items[0]);
  for (std::size_t i = 1; i < items.size(); ++i) {
    Value key = get(items[i]);
    const int order = compare(machine.budget(), key, best_key, wants_max ? ">" : "<");
    if (order != (wants_max ? 1 : -1)) continue;
    best = i;
    best_key = std::move(key);
  }
  return items[best];
}

Value maximum(Machine& machine, const Value& input, const Arguments& arguments) {
  return extreme(machine, input, arguments, true);
}
Value minimum(Machine& machine, const Value& input, const Arguments& arguments) {
  return extreme(machine, input, arguments, false);
}

Value sum(Machine& machine, const Value& input, const Arguments& arguments) {
  const Parameters parameters(machine, "sum", arguments, {"attribute", "start"});
  const Value attribute = parameters.value(0);
  const AttributeGetter get(machine, &attribute, false);
  Value total = parameters.value(1, Value::integer(0));
  if (total.is_string()) fail("sum() can't sum strings [use ''.join(seq) instead]");
  for (const Value& item : machine.iterate(input)) {
    total = apply_operator(machine, BinaryOperator::kAdd, total, get(item));
  }
  return total;
}

Value items(Machine& machine, const Value& input, const Arguments&) {
  if (!input.is_undefined() && !input.is(Kind::kDict)) {
    fail("Can only get item pairs from a mapping.");
  }
  return iterator(machine, "generator", [input](Machine& m) {
    std::vector<Value> pairs;
    if (input.is_undefined()) return pairs;
    for (const auto& entry : input.as_dict().entries()) {
      pairs.push_back(m.heap().tuple({entry.key, entry.value}));
    }
    return pairs;
  });
}

Value batch(Machine& machine, const Value& input, const Arguments& arguments) {
  const Parameters parameters(machine, "batch", arguments, {"linecount", "fill_with"});
  parameters.require(0);
  const auto count = static_cast<std::size_t>(std::max(parameters.small_integer(0, 1), 1));
  return iterator(machine, "generator", [input, count, fill = parameters.value(1)](Machine& m) {
    std::vector<Value> lines;
    std::vector<Value> line;
    for (const Value& item : m.iterate(input)) {
      if (line.size() == count) lines.push_back(m.heap().list(std::exchange(line, {})));
      line.push_back(item);
    }
    if (line.empty()) return lines;
    if (!fill.is_none() && line.size() < count) {
      m.heap().pay_for_values(count - line.size());
      line.resize(count, fill);
    }
    lines.push_back(m.heap().list(std::move(line)));
    return lines;
  });
}

Value slice(Machine& machine, const Value& input, const Arguments& arguments) {
  const Parameters parameters(machine, "slice", arguments, {"slices", "fill_with"});
  parameters.require(0);
  const int wanted = parameters.small_integer(0, 1);
  if (wanted == 0) fail("integer division or modulo by zero");
  const auto count = static_cast<std::size_t>(std::max(wanted, 0));
  return iterator(machine, "generator", [input, count, fill = parameters.value(1)](Machine& m) {
    const std::vector<Value> all = m.iterate(input);
    std::vector<Value> slices;
    std::size_t begin = 0;
    for (std::size_t i = 0; i < count; ++i) {
      const bool has_extra = i < all.size() % count;
      const std::size_t end = begin + all.size() / count + (has_extra ? 1 : 0);
      std::vector<Value> part(all.begin() + static_cast<std::ptrdiff_t>(begin),
                              all.begin() + static_cast<std::ptrdiff_t>(end));
      if (!fill.is_none() && !has_extra) part.push_back(fill);
      slices.push_back(m.heap().list(std::move(part)));
      begin = end;
    }
    return slices;
  });
}

Value groupby(Machine& machine, const Value& input, const Arguments& arguments) {
  const Parameters parameters(machine, "groupby", arguments,
                              {"attribute", "default", "case_sensitive"});
  const Value& attribute = parameters.require(0);
  const Value otherwise = parameters.value(1);
  const Value* fallback = otherwise.is_none() ? nullptr : &otherwise;
  const AttributeGetter get_key(machine, &attribute, !parameters.boolean(2, false), fallback);
  const AttributeGetter get_name(machine, &attribute, false, fallback);
  std::vector<Value> groups;
  std::optional<Value> open_key;
  for (const Value& item : sorted(machine, machine.iterate(input), get_key, false)) {
    Value key = get_key(item);
    if (!open_key || !equal(machine.budget(), *open_key, key)) {
      const Value group = machine.heap().tuple({get_name(item), machine.heap().list({})});
      group.as_sequence().is_group = true;
      groups.push_back(group);
      open_key = std::move(key);
    }
    machine.heap().append(groups.back().as_sequence().items[1].as_sequence(), item);
  }
  return machine.heap().list(std::move(groups));
}

// Splits a filter's arguments into the name in front and the rest.
Arguments without_first(const Arguments& arguments, std::size_t count) {
  Arguments rest;
  rest.positional.assign(arguments.positional.begin() + static_cast<std::ptrdiff_t>(count),
                         arguments.positional.end());
  rest.keyword = arguments.keyword;
  return rest;
}

std::string name_argument(const Arguments& arguments, std::size_t i) {
  if (!arguments.positional[i].is_string()) fail("the name of a filter or test must be a string");
  return std::string(arguments.positional[i].view());
}

std::vector<Value> map_attribute(Machine& machine, const Value& input, const Arguments& arguments) {
  const Parameters parameters(machine, "map", arguments, {"attribute", "default"});
  const Value otherwise = parameters.value(1);
  const AttributeGetter get(machine, &parameters.require(0), false,
                            otherwise.is_none() ? nullptr : &otherwise);
  std::vector<Value> mapped;
  for (const Value& item : machine.iterate(input)) mapped.push_back(get(item));
  return mapped;
}

std::vector<Value> map_filter(Machine& machine, const Value& input, const Arguments& arguments) {
  const std::string name = name_argument(arguments, 0);
  const FilterFunction filter = find_filter(name);
  if (filter == nullptr) fail("No filter named '{}'.", name);
  const Arguments rest = without_first(arguments, 1);
  std::vector<Value> mapped;
  for (const Value& item : machine.iterate(input)) {
    machine.budget().spend(1);
    mapped.push_back(filter(machine, item, rest));
  }
  return mapped;
}

Value map(Machine& machine, const Value& input, const Arguments& arguments) {
  return iterator(machine, "generator", [input, arguments](Machine& m) {
    if (!truthy(input)) return std::vector<Value>();
    if (!arguments.positional.empty()) return map_filter(m, input, arguments);
    if (arguments.keyword.empty()) fail("map requires a filter argument");
    return map_attribute(m, input, arguments);
  });
}

// select, reject, selectattr, rejectattr.
Value choose(Machine& machine, const Value& input, const Arguments& arguments, bool by_attribute,
             bool wants) {
  return iterator(machine, "generator", [=](Machine& m) {
    std::vector<Value> kept;
    if (!truthy(input)) return kept;
    const std::size_t skipped = by_attribute ? 1 : 0;
    if (arguments.positional.size() < skipped) fail("Missing parameter for attribute name");
    const bool has_test = arguments.positional.size() > skipped;
    const Value* attribute = by_attribute ? &arguments.positional[0] : nullptr;
    const AttributeGetter get(m, attribute, false);
    TestFunction test = nullptr;
    if (has_test) {
      const std::string name = name_argument(arguments, skipped);
      test = find_test(name);
      if (test == nullptr) fail("No test named '{}'.", name);
    }
    const Arguments rest = has_test ? without_first(arguments, skipped + 1) : Arguments();
    for (const Value& item : m.iterate(input)) {
      const Value tested = get(item);
      const bool holds = has_test ? test(m, tested, rest) : truthy(tested);
      if (holds == wants) kept.push_back(item);
    }
    return kept;
  });
}

template <bool kByAttribute, bool kWants>
Value chosen(Machine& machine, const Value& input, const Arguments& arguments) {
  return choose(machine, input, arguments, kByAttribute, kWants);
}

constexpr std::array kSequenceFilters = {
    NamedFilter{"batch", batch},
    NamedFilter{"dictsort", dictsort},
    NamedFilter{"first", first},
    NamedFilter{"groupby", groupby},
    NamedFilter{"items", items},
    NamedFilter{"join", join},
    NamedFilter{"last", last},
    NamedFilter{"list", list},
    NamedFilter{"map", map},
    NamedFilter{"max", maximum},
    NamedFilter{"min", minimum},
    NamedFilter{"random", random},
    NamedFilter{"reject", chosen<false, false>},
    NamedFilter{"rejectattr", chosen<true, false>},
    NamedFilter{"reverse", reverse},
    NamedFilter{"select", chosen<false, true>},
    NamedFilter{"selectattr", chosen<true, true>},
    NamedFilter{"slice", slice},
    NamedFilter{"sort", sort},
    NamedFilter{"sum", sum},
    NamedFilter{"unique", unique},
};

}  // namespace

std::span<const NamedFilter> sequence_filters() { return kSequenceFilters; }

}  // namespace tutti::text::jinja
