#include "text/jinja/objects.h"

#include <fmt/format.h>

#include <algorithm>

#include "text/jinja/format.h"

namespace tutti::text::jinja {
namespace {

// A function with state, as an attribute of another object.
struct MemberFunction : Object {
  using Function = std::function<Value(Machine&, const Arguments&)>;
  explicit MemberFunction(Function function)
      : Object(Kind::kOther), function(std::move(function)) {}
  std::string type_name() const override { return "method"; }
  bool is_callable() const override { return true; }
  Value call(Machine& machine, const Arguments& arguments) override {
    return function(machine, arguments);
  }

  Function function;
};

Value member(Machine& machine, MemberFunction::Function function) {
  return Value::object(machine.heap().make<MemberFunction>(std::move(function)));
}

Value number(std::size_t value) { return Value::integer(static_cast<Integer>(value)); }

}  // namespace

Value GlobalObject::call(Machine& machine, const Arguments& arguments) {
  return function(machine, arguments);
}

void GlobalObject::append_repr(Machine&, TextBuilder& out, int) {
  out.append_template(fmt::format("<function {}>", name));
}

std::optional<Value> MacroObject::attribute(Machine& machine, std::string_view name) {
  if (name == "name") return machine.heap().string(definition.name);
  if (name == "catch_kwargs") return Value::boolean(definition.uses_kwargs);
  if (name == "catch_varargs") return Value::boolean(definition.uses_varargs);
  if (name == "caller") return Value::boolean(definition.uses_caller);
  if (name != "arguments") return std::nullopt;
  std::vector<Value> names;
  for (const auto& parameter : definition.parameters) {
    names.push_back(machine.heap().string(parameter.name));
  }
  return machine.heap().tuple(std::move(names));
}

Value MacroObject::call(Machine& machine, const Arguments& arguments) {
  const Machine::DepthGuard depth(machine);
  const Machine::ScopeGuard guard(machine, scope);
  bind(machine, arguments);
  return Value::string(machine.capture(definition.body));
}

void MacroObject::bind(Machine& machine, const Arguments& arguments) {
  const auto& parameters = definition.parameters;
  const auto keyword = [&](const std::string& name) -> const Value* {
    for (const auto& [key, value] : arguments.keyword) {
      if (key == name) return &value;
    }
    return nullptr;
  };
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const Value* named = keyword(parameters[i].name);
    if (i < arguments.positional.size()) {
      if (named != nullptr) {
        fail("macro '{}' got multiple values for argument '{}'", definition.name,
             parameters[i].name);
      }
      machine.scope()->set(parameters[i].symbol, arguments.positional[i]);
    } else if (named != nullptr) {
      machine.scope()->set(parameters[i].symbol, *named);
    }
  }
  bind_extra(machine, arguments);
  for (const auto& parameter : parameters) {
    if (machine.scope()->find_own(parameter.symbol) != nullptr) continue;
    machine.scope()->set(
        parameter.symbol,
        parameter.default_value
            ? machine.evaluate(*parameter.default_value)
            : Value::undefined(fmt::format("parameter '{}' was not provided", parameter.name)));
  }
}

void MacroObject::bind_extra(Machine& machine, const Arguments& arguments) {
  const auto is_parameter = [&](const std::string& name) {
    return std::any_of(definition.parameters.begin(), definition.parameters.end(),
                       [&](const Parameter& parameter) { return parameter.name == name; });
  };
  if (definition.uses_caller && !is_parameter("caller")) {
    machine.scope()->set(definition.caller_symbol, Value::undefined("No caller defined"));
  }
  Dict* extra_keywords = definition.uses_kwargs ? machine.heap().dict() : nullptr;
  for (const auto& [name, value] : arguments.keyword) {
    if (is_parameter(name)) continue;
    if (name == "caller") {
      machine.scope()->set(definition.caller_symbol, value);
    } else if (extra_keywords != nullptr) {
      machine.heap().put(*extra_keywords, machine.heap().string(name), value);
    } else {
      fail("macro '{}' takes no keyword argument '{}'", definition.name, name);
    }
  }
  if (extra_keywords != nullptr) {
    machine.scope()->set(definition.kwargs_symbol, Value::object(extra_keywords));
  }
  const std::size_t count = definition.parameters.size();
  const bool has_more = arguments.positional.size() > count;
  if (has_more && !definition.uses_varargs) {
    fail("macro '{}' takes not more than {} argument(s)", definition.name, count);
  }
  if (!definition.uses_varargs) return;
  std::vector<Value> rest;
  if (has_more) {
    rest.assign(arguments.positional.begin() + static_cast<std::ptrdiff_t>(count),
                arguments.positional.end());
  }
  machine.scope()->set(definition.varargs_symbol, machine.heap().tuple(std::move(rest)));
}

std::optional<Value> NamespaceObject::attribute(Machine&, std::string_view name) {
  const Value* found = attributes->find(name);
  return found != nullptr ? std::optional(*found) : std::nullopt;
}

std::optional<Value> NamespaceObject::item(Machine& machine, const Value& key) {
  return key.is_string() ? attribute(machine, key.view()) : std::nullopt;
}

Value LoopObject::call(Machine& machine, const Arguments& arguments) {
  if (loop == nullptr) {
    fail("The loop must have the 'recursive' marker to be called recursively.");
  }
  if (arguments.positional.size() != 1) fail("loop() takes exactly one argument");
  const Machine::DepthGuard depth(machine);
  const Machine::ScopeGuard guard(machine, scope);
  return Value::string(run_recursive_loop(machine, *this, arguments.positional.front()));
}

std::optional<Value> LoopObject::attribute(Machine& machine, std::string_view name) {
  const std::size_t count = items.size();
  if (name == "index") return number(index0 + 1);
  if (name == "index0") return number(index0);
  if (name == "revindex") return number(count - index0);
  if (name == "revindex0") return number(count - index0 - 1);
  if (name == "first") return Value::boolean(index0 == 0);
  if (name == "last") return Value::boolean(index0 + 1 == count);
  if (name == "length") return number(count);
  if (name == "depth") return Value::integer(depth0 + 1);
  if (name == "depth0") return Value::integer(depth0);
  if (name == "previtem") {
    return index0 > 0 ? items[index0 - 1] : Value::undefined("there is no previous item");
  }
  if (name == "nextitem") {
    return index0 + 1 < count ? items[index0 + 1] : Value::undefined("there is no next item");
  }
  if (name == "cycle") {
    return member(machine, [this](Machine&, const Arguments& arguments) {
      if (arguments.positional.empty()) fail("no items for cycling given");
      return arguments.positional[index0 % arguments.positional.size()];
    });
  }
  if (name == "changed") {
    return member(machine, [this](Machine& machine, const Arguments& arguments) {
      const auto& values = arguments.positional;
      const bool is_same =
          last_changed &&
          std::equal(values.begin(), values.end(), last_changed->begin(), last_changed->end(),
                     [&](const Value& a, const Value& b) { return equal(machine.budget(), a, b); });
      if (!is_same) last_changed = values;
      return Value::boolean(!is_same);
    });
  }
  return std::nullopt;
}

std::size_t RangeObject::count() const {
  if (step > 0 ? start >= stop : start <= stop) return 0;
  const Integer span = step > 0 ? stop - start : start - stop;
  const Integer stride = step > 0 ? step : -step;
  return static_cast<std::size_t>((span + stride - 1) / stride);
}

std::optional<std::vector<Value>> RangeObject::iterate(Machine& machine) {
  machine.budget().spend(static_cast<std::int64_t>(count() / 4));
  std::vector<Value> items;
  items.reserve(count());
  Integer value = start;
  for (std::size_t i = 0; i < count(); ++i, value += step) items.push_back(Value::integer(value));
  return items;
}

std::optional<Value> RangeObject::item(Machine&, const Value& key) {
  if (!key.is_integral()) return std::nullopt;
  const auto size = static_cast<Integer>(count());
  const Integer index = key.as_integer() < 0 ? key.as_integer() + size : key.as_integer();
  if (index < 0 || index >= size) return std::nullopt;
  return Value::integer(start + index * step);
}

void RangeObject::append_repr(Machine&, TextBuilder& out, int) {
  out.append_template(fmt::format("range({}, {}{})", integer_text(start), integer_text(stop),
                                  (step != 1 ? ", " + integer_text(step) : "")));
}

void IteratorObject::materialise(Machine& machine) {
  if (!source) return;
  const Machine::DepthGuard depth(machine);
  pending = std::exchange(source, nullptr)(machine);
  machine.heap().pay_for_values(pending.size());
}

std::optional<std::vector<Value>> IteratorObject::iterate(Machine& machine) {
  materialise(machine);
  std::vector<Value> rest(pending.begin() + static_cast<std::ptrdiff_t>(position), pending.end());
  pending.clear();
  position = 0;
  return rest;
}

std::optional<Value> IteratorObject::next(Machine& machine) {
  materialise(machine);
  if (position >= pending.size()) return std::nullopt;
  return pending[position++];
}

std::size_t IteratorObject::remaining(Machine& machine) {
  materialise(machine);
  return pending.size() - position;
}

void ViewObject::append_repr(Machine& machine, TextBuilder& out, int depth) {
  out.append_template(fmt::format("{}([", name));
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (i > 0) out.append_template(", ");
    jinja::append_repr(machine, out, items[i], depth + 1);
  }
  out.append_template("])");
}

Value JoinerObject::call(Machine& machine, const Arguments&) {
  return std::exchange(used, true) ? separator : machine.heap().string("");
}

std::optional<Value> CyclerObject::attribute(Machine& machine, std::string_view name) {
  if (name == "current") return items[position];
  if (name == "next") {
    return member(machine, [this](Machine&, const Arguments&) {
      Value value = items[position];
      position = (position + 1) % items.size();
      return value;
    });
  }
  if (name == "reset") {
    return member(machine, [this](Machine&, const Arguments&) {
      position = 0;
      return Value();
    });
  }
  return std::nullopt;
}

}  // namespace tutti::text::jinja
