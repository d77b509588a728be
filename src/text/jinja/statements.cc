// Execution of the statement nodes.
#include "text/jinja/ast.h"
#include "text/jinja/machine.h"
#include "text/jinja/objects.h"

namespace tutti::text::jinja {
namespace {

// Holds memory of the budget while a loop's items are alive.
class MemoryHold {
 public:
  MemoryHold(Budget& budget, std::size_t bytes) : budget_(budget), bytes_(bytes) {
    budget.take(bytes);
  }
  ~MemoryHold() { budget_.release(bytes_); }
  MemoryHold(const MemoryHold&) = delete;
  MemoryHold& operator=(const MemoryHold&) = delete;

 private:
  Budget& budget_;
  std::size_t bytes_;
};

// The items for which the loop's `if` holds.
std::vector<Value> filter_items(Machine& machine, const ForStatement& loop,
                                std::vector<Value> items) {
  if (!loop.condition) return items;
  std::vector<Value> kept;
  for (Value& item : items) {
    const Machine::ScopeGuard guard(machine);
    machine.assign(loop.target, item);
    if (truthy(machine.evaluate(*loop.condition))) kept.push_back(std::move(item));
  }
  return kept;
}

void run_loop(Machine& machine, const ForStatement& loop, const Value& iterable, int depth0) {
  std::vector<Value> items = filter_items(machine, loop, machine.iterate(iterable));
  const MemoryHold hold(machine.budget(), items.size() * sizeof(Value));
  if (items.empty()) {
    const Machine::ScopeGuard guard(machine);
    machine.execute(loop.otherwise);
    return;
  }
  auto* context = machine.heap().make<LoopObject>();
  context->depth0 = depth0;
  if (loop.is_recursive) {
    machine.keep_scopes();
    context->loop = &loop;
    context->scope = machine.scope();
  }
  context->items = std::move(items);
  for (std::size_t i = 0; i < context->items.size(); ++i) {
    const Machine::ScopeGuard guard(machine);
    context->index0 = i;
    machine.scope()->set(loop.loop_symbol, Value::object(context));
    machine.assign(loop.target, Value(context->items[i]));
    if (machine.execute(loop.body) == Flow::kBreak) break;
  }
  // The last iteration is what a loop that outlives itself shows; its items are kept no longer.
  context->index0 = 0;
  std::vector<Value>().swap(context->items);
}

void assign_attribute(Machine& machine, const Target& target, const Value& value) {
  const Value* found = machine.find_variable(target.symbol);
  if (found == nullptr) fail("'{}' is undefined", machine.name_of(target.symbol));
  auto* space =
      found->is(Kind::kOther) ? dynamic_cast<NamespaceObject*>(found->as_object()) : nullptr;
  if (space == nullptr) fail("cannot assign attribute on non-namespace object");
  machine.heap().put(*space->attributes, machine.heap().string(target.attribute), value);
}

}  // namespace

void Machine::assign(const Target& target, const Value& value) {
  if (!target.attribute.empty()) return assign_attribute(*this, target, value);
  if (!target.is_tuple) return scope_->set(target.symbol, value);
  require_defined(value);
  const std::vector<Value> values = iterate(value);
  const std::size_t expected = target.items.size();
  if (values.size() < expected) {
    fail("not enough values to unpack (expected {}, got {})", expected, values.size());
  }
  if (values.size() > expected) {
    fail("too many values to unpack (expected {})", expected);
  }
  for (std::size_t i = 0; i < expected; ++i) assign(target.items[i], values[i]);
}

Text run_recursive_loop(Machine& machine, const LoopObject& outer, const Value& iterable) {
  return machine.capture_output(
      [&] { run_loop(machine, *outer.loop, iterable, outer.depth0 + 1); });
}

Flow DataStatement::execute(Machine& machine) const {
  machine.output().append(data);
  return Flow::kNext;
}

Flow PrintStatement::execute(Machine& machine) const {
  const Value printed = machine.evaluate(*value);
  machine.append_text(machine.output(), printed);
  return Flow::kNext;
}

Flow IfStatement::execute(Machine& machine) const {
  for (const auto& [condition, body] : branches) {
    if (truthy(machine.evaluate(*condition))) return machine.execute(body);
  }
  return machine.execute(otherwise);
}

Flow ForStatement::execute(Machine& machine) const {
  run_loop(machine, *this, machine.evaluate(*iterable), 0);
  return Flow::kNext;
}

Flow SetStatement::execute(Machine& machine) const {
  machine.assign(target, machine.evaluate(*value));
  return Flow::kNext;
}

Flow SetBlockStatement::execute(Machine& machine) const {
  Value value;
  {
    const Machine::ScopeGuard guard(machine);
    value = Value::string(machine.capture(body));
  }
  machine.assign(target, machine.apply_all(filters, std::move(value)));
  return Flow::kNext;
}

Flow FilterBlockStatement::execute(Machine& machine) const {
  const Machine::ScopeGuard guard(machine);
  Value value = Value::string(machine.capture(body));
  machine.append_text(machine.output(), machine.apply_all(filters, std::move(value)));
  return Flow::kNext;
}

Flow MacroStatement::execute(Machine& machine) const {
  machine.keep_scopes();
  Value made = Value::object(machine.heap().make<MacroObject>(macro, machine.scope()));
  machine.scope()->set(symbol, std::move(made));
  return Flow::kNext;
}

Flow CallBlockStatement::execute(Machine& machine) const {
  machine.keep_scopes();
  const Value function = machine.evaluate(*call->callee);
  Arguments arguments = machine.evaluate_arguments(call->arguments);
  arguments.keyword.emplace_back(
      "caller", Value::object(machine.heap().make<MacroObject>(caller, machine.scope())));
  machine.append_text(machine.output(), machine.call(function, arguments));
  return Flow::kNext;
}

Flow ScopeStatement::execute(Machine& machine) const {
  std::vector<Value> values;
  for (const auto& [target, expression] : variables)
    values.push_back(machine.evaluate(*expression));
  const Machine::ScopeGuard guard(machine);
  for (std::size_t i = 0; i < variables.size(); ++i) machine.assign(variables[i].first, values[i]);
  return machine.execute(body);
}

Flow LoopControlStatement::execute(Machine&) const { return flow; }

Flow ExpressionStatement::execute(Machine& machine) const {
  machine.evaluate(*value);
  return Flow::kNext;
}

Flow UnavailableStatement::execute(Machine&) const {
  fail("'{}' needs other templates, and there are none", tag);
}

}  // namespace tutti::text::jinja
