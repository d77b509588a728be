// Methods of list and dict. Lists and dicts may change here, unlike in transformers' sandbox:
// templates that append to a list mean it.
#include <algorithm>
#include <array>

#include "text/jinja/arguments.h"
#include "text/jinja/method_table.h"
#include "text/jinja/objects.h"

namespace tutti::text::jinja {
namespace {

// --- list ---

Value append(Machine& machine, const Value& self, const Arguments& arguments) {
  const Parameters parameters(machine, "append", arguments, {"object"});
  machine.heap().append(self.as_sequence(), parameters.require(0));
  return Value();
}

Value extend(Machine& machine, const Value& self, const Arguments& arguments) {
  const Parameters parameters(machine, "extend", arguments, {"iterable"});
  for (Value& item : machine.iterate(parameters.require(0))) {
    machine.heap().append(self.as_sequence(), std::move(item));
  }
  return Value();
}

Value insert(Machine& machine, const Value& self, const Arguments& arguments) {
  const Parameters parameters(machine, "insert", arguments, {"index", "object"});
  auto& items = self.as_sequence().items;
  const auto size = static_cast<Integer>(items.size());
  Integer index = parameters.integer(0, 0);
  if (index < 0) index += size;
  index = std::clamp<Integer>(index, 0, size);
  const Value& inserted = parameters.require(1);
  machine.budget().spend(static_cast<std::int64_t>(size - index) / 4);
  const auto at = items.begin() + static_cast<std::ptrdiff_t>(index);
  const std::vector<Value> behind(at, items.end());
  items.erase(at, items.end());
  machine.heap().append(self.as_sequence(), inserted);
  items.insert(items.end(), behind.begin(), behind.end());
  return Value();
}

Value pop(Machine& machine, const Value& self, const Arguments& arguments) {
  const Parameters parameters(machine, "pop", arguments, {"index"});
  auto& items = self.as_sequence().items;
  if (items.empty()) fail("pop from empty list");
  const auto size = static_cast<Integer>(items.size());
  Integer index = parameters.integer(0, -1);
  if (index < 0) index += size;
  if (index < 0 || index >= size) fail("pop index out of range");
  machine.budget().spend(static_cast<std::int64_t>(size - index) / 4);
  const auto at = items.begin() + static_cast<std::ptrdiff_t>(index);
  Value popped = *at;
  items.erase(at);
  return popped;
}

std::optional<std::size_t> position_in(Machine& machine, const Value& self, const Value& wanted) {
  const auto& items = self.as_sequence().items;
  machine.budget().spend(static_cast<std::int64_t>(items.size()) / 4);
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (equal(machine.budget(), items[i], wanted)) return i;
  }
  return std::nullopt;
}

Value remove(Machine& machine, const Value& self, const Arguments& arguments) {
  const Parameters parameters(machine, "remove", arguments, {"value"});
  const auto found = position_in(machine, self, parameters.require(0));
  if (!found) fail("list.remove(x): x not in list");
  auto& items = self.as_sequence().items;
  items.erase(items.begin() + static_cast<std::ptrdiff_t>(*found));
  return Value();
}

Value index(Machine& machine, const Value& self, const Arguments& arguments) {
  const Parameters parameters(machine, "index", arguments, {"value"});
  const auto found = position_in(machine, self, parameters.require(0));
  if (!found) fail("the value is not in the {}", type_name(self));
  return Value::integer(static_cast<Integer>(*found));
}

Value count(Machine& machine, const Value& self, const Arguments& arguments) {
  const Parameters parameters(machine, "count", arguments, {"value"});
  const auto& items = self.as_sequence().items;
  machine.budget().spend(static_cast<std::int64_t>(items.size()) / 4);
  return Value::integer(std::count_if(items.begin(), items.end(), [&](const Value& item) {
    return equal(machine.budget(), item, parameters.require(0));
  }));
}

Value reverse(Machine& machine, const Value& self, const Arguments&) {
  auto& items = self.as_sequence().items;
  machine.budget().spend(static_cast<std::int64_t>(items.size()) / 4);
  items = std::vector<Value>(items.rbegin(), items.rend());
  return Value();
}

Value sort(Machine& machine, const Value& self, const Arguments& arguments) {
  const Parameters parameters(machine, "sort", arguments, {"reverse"});
  Arguments forwarded;
  forwarded.keyword.emplace_back("reverse", Value::boolean(parameters.boolean(0, false)));
  forwarded.keyword.emplace_back("case_sensitive", Value::boolean(true));
  self.as_sequence().items = machine.iterate(find_filter("sort")(machine, self, forwarded));
  return Value();
}

Value list_copy(Machine& machine, const Value& self, const Arguments&) {
  return machine.heap().list(machine.iterate(self));
}

Value list_clear(Machine&, const Value& self, const Arguments&) {
  self.as_sequence().items.clear();
  return Value();
}

constexpr std::array kListMethods = {
    NamedMethod{"append", append},  NamedMethod{"clear", list_clear},
    NamedMethod{"copy", list_copy}, NamedMethod{"count", count},
    NamedMethod{"extend", extend},  NamedMethod{"index", index},
    NamedMethod{"insert", insert},  NamedMethod{"pop", pop},
    NamedMethod{"remove", remove},  NamedMethod{"reverse", reverse},
    NamedMethod{"sort", sort},
};

// --- dict ---

Value get(Machine& machine, const Value& self, const Arguments& arguments) {
  const Parameters parameters(machine, "get", arguments, {"key", "default"});
  const Value* found = self.as_dict().find(machine.budget(), parameters.require(0));
  return found != nullptr ? *found : parameters.value(1);
}

Value view(Machine& machine, std::string name, std::vector<Value> items) {
  machine.heap().pay_for_values(items.size());
  return Value::object(machine.heap().make<ViewObject>(std::move(name), std::move(items)));
}

Value keys(Machine& machine, const Value& self, const Arguments&) {
  return view(machine, "dict_keys", machine.iterate(self));
}

Value values(Machine& machine, const Value& self, const Arguments&) {
  std::vector<Value> all;
  for (const auto& entry : self.as_dict().entries()) all.push_back(entry.value);
  return view(machine, "dict_values", std::move(all));
}

Value items(Machine& machine, const Value& self, const Arguments&) {
  std::vector<Value> pairs;
  for (const auto& entry : self.as_dict().entries()) {
    pairs.push_back(machine.heap().tuple({entry.key, entry.value}));
  }
  return view(machine, "dict_items", std::move(pairs));
}

Value dict_pop(Machine& machine, const Value& self, const Arguments& arguments) {
  const Parameters parameters(machine, "pop", arguments, {"key", "default"});
  Dict& dict = self.as_dict();
  const Value* found = dict.find(machine.budget(), parameters.require(0));
  if (found == nullptr) {
    if (!parameters.has(1)) fail("pop(): the dictionary has no such key");
    return parameters.value(1);
  }
  Value popped = *found;
  machine.budget().spend(static_cast<std::int64_t>(dict.entries().size()));
  dict.erase(machine.budget(), parameters.require(0));
  return popped;
}

Value popitem(Machine& machine, const Value& self, const Arguments&) {
  Dict& dict = self.as_dict();
  if (dict.entries().empty()) fail("popitem(): dictionary is empty");
  machine.budget().spend(static_cast<std::int64_t>(dict.entries().size()));
  const Dict::Entry last = dict.entries().back();
  dict.erase(machine.budget(), last.key);
  return machine.heap().tuple({last.key, last.value});
}

Value setdefault(Machine& machine, const Value& self, const Arguments& arguments) {
  const Parameters parameters(machine, "setdefault", arguments, {"key", "default"});
  if (const Value* found = self.as_dict().find(machine.budget(), parameters.require(0)))
    return *found;
  machine.heap().put(self.as_dict(), parameters.require(0), parameters.value(1));
  return parameters.value(1);
}

Value update(Machine& machine, const Value& self, const Arguments& arguments) {
  const Value other = find_global("dict")(machine, arguments);
  for (const auto& entry : other.as_dict().entries()) {
    machine.heap().put(self.as_dict(), entry.key, entry.value);
  }
  return Value();
}

Value dict_copy(Machine& machine, const Value& self, const Arguments&) {
  Dict* copy = machine.heap().dict();
  for (const auto& entry : self.as_dict().entries()) {
    machine.heap().put(*copy, entry.key, entry.value);
  }
  return Value::object(copy);
}

Value dict_clear(Machine&, const Value& self, const Arguments&) {
  self.as_dict().clear();
  return Value();
}

constexpr std::array kDictMethods = {
    NamedMethod{"clear", dict_clear}, NamedMethod{"copy", dict_copy},
    NamedMethod{"get", get},          NamedMethod{"items", items},
    NamedMethod{"keys", keys},        NamedMethod{"pop", dict_pop},
    NamedMethod{"popitem", popitem},  NamedMethod{"setdefault", setdefault},
    NamedMethod{"update", update},    NamedMethod{"values", values},
};

}  // namespace

std::span<const NamedMethod> list_methods() { return kListMethods; }
std::span<const NamedMethod> dict_methods() { return kDictMethods; }

}  // namespace tutti::text::jinja
