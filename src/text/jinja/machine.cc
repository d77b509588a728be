#include "text/jinja/machine.h"

#include <fmt/format.h>

#include "text/jinja/format.h"
#include "text/jinja/functions.h"
#include "text/jinja/unicode.h"

namespace tutti::text::jinja {
namespace {

// Of expressions and statements being evaluated inside each other, macro calls included.
constexpr int kMaxDepth = 1000;

std::string quoted(Machine& machine, const Value& value) {
  TextBuilder out(machine.budget());
  append_repr(machine, out, value);
  return std::string(out.finish().view());
}

// The missing attribute or item, as Jinja words it.
Value missing(Machine& machine, const Value& object, const Value& name) {
  if (name.is_string()) {
    return Value::undefined(
        fmt::format("'{}' has no attribute {}", object_type_repr(object), quoted(machine, name)));
  }
  return Value::undefined(
      fmt::format("{} has no element {}", object_type_repr(object), quoted(machine, name)));
}

// `index` as Python counts it, from the end when negative; nullopt out of range.
std::optional<std::size_t> position_of(Integer index, std::size_t size) {
  const auto count = static_cast<Integer>(size);
  if (index < 0) index += count;
  if (index < 0 || index >= count) return std::nullopt;
  return static_cast<std::size_t>(index);
}

std::optional<Value> character(Machine& machine, const Text& text, Integer index) {
  const std::string_view view = text.view();
  std::size_t begin = 0;
  if (index >= 0) {
    if (index >= static_cast<Integer>(view.size())) return std::nullopt;
    machine.budget().spend_for_bytes(static_cast<std::size_t>(index));
    begin = byte_of_code_point(view, static_cast<std::size_t>(index));
    if (begin >= view.size()) return std::nullopt;
  } else {
    if (-index > static_cast<Integer>(view.size())) return std::nullopt;
    machine.budget().spend_for_bytes(static_cast<std::size_t>(-index));
    begin = view.size();
    for (; index < 0; ++index) {
      if (begin == 0) return std::nullopt;
      begin = previous_code_point(view, begin);
    }
  }
  const std::size_t end = begin + code_point_at(view, begin).length;
  return Value::string(slice_text(machine.budget(), text, begin, end));
}

// Getting by key; nullopt when there is nothing there.
std::optional<Value> subscript(Machine& machine, const Value& value, const Value& key) {
  switch (value.kind()) {
    case Kind::kList:
    case Kind::kTuple: {
      if (!key.is_integral()) return std::nullopt;
      const auto& items = value.as_sequence().items;
      const auto position = position_of(key.as_integer(), items.size());
      return position ? std::optional(items[*position]) : std::nullopt;
    }
    case Kind::kString:
      if (!key.is_integral()) return std::nullopt;
      return character(machine, value.as_text(), key.as_integer());
    case Kind::kDict: {
      if (key.is(Kind::kList) || key.is(Kind::kDict)) return std::nullopt;
      const Value* found = value.as_dict().find(machine.budget(), key);
      return found != nullptr ? std::optional(*found) : std::nullopt;
    }
    case Kind::kOther:
      return value.as_object()->item(machine, key);
    default:
      return std::nullopt;
  }
}

// A method of a value, waiting for its arguments.
struct BoundMethod : Object {
  BoundMethod(Value self, MethodFunction function, std::string name)
      : Object(Kind::kOther), self(std::move(self)), function(function), name(std::move(name)) {}
  std::string type_name() const override { return "builtin_function_or_method"; }
  bool is_callable() const override { return true; }
  Value call(Machine& machine, const Arguments& arguments) override {
    return function(machine, self, arguments);
  }
  void append_repr(Machine&, TextBuilder& out, int) override {
    out.append_template(
        fmt::format("<built-in method {} of {} object>", name, jinja::type_name(self)));
  }

  Value self;
  MethodFunction function;
  std::string name;
};

// What `value.name` is apart from items: methods first, as Python looks them up.
std::optional<Value> python_attribute(Machine& machine, const Value& value, std::string_view name) {
  if (name.starts_with("__")) return std::nullopt;
  if (value.is(Kind::kOther)) return value.as_object()->attribute(machine, name);
  if (const MethodFunction method = find_method(value, name)) {
    return Value::object(machine.heap().make<BoundMethod>(value, method, std::string(name)));
  }
  if (value.is(Kind::kTuple) && value.as_sequence().is_group) {
    if (name == "grouper") return value.as_sequence().items[0];
    if (name == "list") return value.as_sequence().items[1];
  }
  return std::nullopt;
}

}  // namespace

Value* Scope::find_own(Symbol symbol) {
  for (auto& [name, value] : variables) {
    if (name == symbol) return &value;
  }
  return nullptr;
}

void Scope::set(Symbol symbol, Value value) {
  if (Value* found = find_own(symbol)) {
    *found = std::move(value);
  } else {
    variables.emplace_back(symbol, std::move(value));
  }
}

Machine::DepthGuard::DepthGuard(Machine& machine) : machine_(machine) {
  if (++machine.depth_ > kMaxDepth) {
    --machine.depth_;
    fail_limit("the template recurses too deep");
  }
}

Machine::Machine(const Program& program, Budget& budget, std::size_t max_output_bytes, std::tm now)
    : program_(program),
      budget_(budget),
      max_output_bytes_(max_output_bytes),
      now_(now),
      heap_(budget),
      main_output_(budget, max_output_bytes),
      scope_(heap_.make<Scope>(nullptr)) {}

Scope* Machine::take_scope(Scope* parent) {
  if (free_scopes_.empty()) return heap_.make<Scope>(parent);
  Scope* scope = free_scopes_.back();
  free_scopes_.pop_back();
  scope->parent = parent;
  return scope;
}

void Machine::give_back(Scope* scope) {
  if (scope->is_captured) return;
  scope->variables.clear();
  free_scopes_.push_back(scope);
}

void Machine::keep_scopes() {
  for (Scope* scope = scope_; scope != nullptr && !scope->is_captured; scope = scope->parent) {
    scope->is_captured = true;
  }
}

Value Machine::evaluate(const Expression& expression) {
  const DepthGuard guard(*this);
  budget_.spend(1);
  line_ = expression.line;
  return expression.evaluate(*this);
}

Flow Machine::execute(const Body& body) {
  const DepthGuard guard(*this);
  for (const auto& statement : body) {
    budget_.spend(1);
    line_ = statement->line;
    const Flow flow = statement->execute(*this);
    if (flow != Flow::kNext) return flow;
  }
  return Flow::kNext;
}

Value* Machine::find_variable(Symbol symbol) {
  for (Scope* scope = scope_; scope != nullptr; scope = scope->parent) {
    if (Value* found = scope->find_own(symbol)) return found;
  }
  return nullptr;
}

Arguments Machine::evaluate_arguments(const ArgumentList& list) {
  Arguments arguments;
  arguments.positional.reserve(list.positional.size());
  for (const auto& argument : list.positional) arguments.positional.push_back(evaluate(*argument));
  for (const auto& [name, argument] : list.keyword) {
    arguments.keyword.emplace_back(name, evaluate(*argument));
  }
  if (list.starred) {
    for (auto& value : iterate(evaluate(*list.starred))) {
      arguments.positional.push_back(std::move(value));
    }
  }
  if (list.double_starred) {
    const Value mapping = evaluate(*list.double_starred);
    if (!mapping.is(Kind::kDict))
      fail("argument after ** must be a mapping, not {}", type_name(mapping));
    for (const auto& entry : mapping.as_dict().entries()) {
      if (!entry.key.is_string()) fail("keywords must be strings");
      budget_.spend(1);
      arguments.keyword.emplace_back(std::string(entry.key.view()), entry.value);
    }
  }
  return arguments;
}

Value Machine::apply(const FilterCall& filter, const Value& input) {
  if (filter.function == nullptr) fail("No filter named '{}'.", filter.name);
  return filter.function(*this, input, evaluate_arguments(filter.arguments));
}

Value Machine::apply_all(const std::vector<FilterCall>& filters, Value input) {
  for (const FilterCall& filter : filters) input = apply(filter, input);
  return input;
}

Value Machine::call(const Value& callee, const Arguments& arguments) {
  require_defined(callee);
  if (!callee.is(Kind::kOther)) fail("'{}' object is not callable", type_name(callee));
  return callee.as_object()->call(*this, arguments);
}

Value Machine::attribute(const Value& value, const Text& name) {
  require_defined(value);
  if (auto found = python_attribute(*this, value, name.view())) return *found;
  const Value key = Value::string(name);
  if (value.is(Kind::kDict)) {
    if (const Value* found = value.as_dict().find(name.view())) return *found;
  } else if (auto found = subscript(*this, value, key)) {
    return *found;
  }
  return missing(*this, value, key);
}

Value Machine::item(const Value& value, const Value& key) {
  require_defined(value);
  if (auto found = subscript(*this, value, key)) return *found;
  if (key.is_string()) {
    if (auto found = python_attribute(*this, value, key.view())) return *found;
  }
  return missing(*this, value, key);
}

std::vector<Value> Machine::iterate(const Value& value) {
  std::vector<Value> items;
  switch (value.kind()) {
    case Kind::kUndefined:
      return items;
    case Kind::kList:
    case Kind::kTuple:
      budget_.spend(static_cast<std::int64_t>(value.as_sequence().items.size() / 4));
      return value.as_sequence().items;
    case Kind::kDict:
      budget_.spend(static_cast<std::int64_t>(value.as_dict().entries().size() / 4));
      for (const auto& entry : value.as_dict().entries()) items.push_back(entry.key);
      return items;
    case Kind::kString: {
      const Text& text = value.as_text();
      for (std::size_t i = 0; i < text.size();) {
        const std::size_t next = i + code_point_at(text.view(), i).length;
        budget_.spend(1);
        items.push_back(Value::string(slice_text(budget_, text, i, next)));
        i = next;
      }
      return items;
    }
    case Kind::kOther:
      if (auto iterated = value.as_object()->iterate(*this)) return std::move(*iterated);
      break;
    default:
      break;
  }
  fail("'{}' object is not iterable", type_name(value));
}

std::optional<std::size_t> Machine::length(const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
      return 0;
    case Kind::kString:
      budget_.spend_for_bytes(value.as_text().size());
      return count_code_points(value.view());
    case Kind::kList:
    case Kind::kTuple:
      return value.as_sequence().items.size();
    case Kind::kDict:
      return value.as_dict().entries().size();
    case Kind::kOther:
      return value.as_object()->length();
    default:
      return std::nullopt;
  }
}

Text Machine::to_text(const Value& value) {
  if (value.is_string()) return value.as_text();
  TextBuilder out(budget_, max_output_bytes_);
  append_text(out, value);
  return out.finish();
}

void Machine::append_text(TextBuilder& out, const Value& value) {
  if (value.is_string()) {
    out.append(value.as_text());
  } else if (!value.is_undefined()) {
    append_repr(*this, out, value);
  }
}

}  // namespace tutti::text::jinja
