// Evaluation of the expression nodes.
#include <fmt/format.h>

#include "text/jinja/ast.h"
#include "text/jinja/functions.h"
#include "text/jinja/machine.h"
#include "text/jinja/objects.h"
#include "text/jinja/operators.h"

namespace tutti::text::jinja {

Value Constant::evaluate(Machine&) const { return value; }

Value SequenceLiteral::evaluate(Machine& machine) const {
  std::vector<Value> values;
  values.reserve(items.size());
  for (const auto& item : items) values.push_back(machine.evaluate(*item));
  return kind == Kind::kList ? machine.heap().list(std::move(values))
                             : machine.heap().tuple(std::move(values));
}

Value DictLiteral::evaluate(Machine& machine) const {
  Dict* dict = machine.heap().dict();
  for (const auto& [key, value] : entries) {
    Value evaluated_key = machine.evaluate(*key);
    machine.heap().put(*dict, std::move(evaluated_key), machine.evaluate(*value));
  }
  return Value::object(dict);
}

Value Name::evaluate(Machine& machine) const {
  if (const Value* found = machine.find_variable(symbol)) return *found;
  if (global != nullptr) return Value::object(machine.heap().make<GlobalObject>(name, global));
  return Value::undefined(fmt::format("'{}' is undefined", name));
}

Value AttributeAccess::evaluate(Machine& machine) const {
  return machine.attribute(machine.evaluate(*object), name);
}

Value ItemAccess::evaluate(Machine& machine) const {
  const Value container = machine.evaluate(*object);
  return machine.item(container, machine.evaluate(*key));
}

Value SliceAccess::evaluate(Machine& machine) const {
  const auto part = [&](const ExpressionPtr& expression) {
    return expression ? machine.evaluate(*expression) : Value();
  };
  const Value sliced = machine.evaluate(*object);
  const Value first = part(start);
  const Value last = part(stop);
  return machine.slice(sliced, first, last, part(step));
}

Value CallExpression::evaluate(Machine& machine) const {
  // A method is called without making an object of it first.
  if (const auto* access = dynamic_cast<const AttributeAccess*>(callee.get())) {
    const Value self = machine.evaluate(*access->object);
    if (const MethodFunction method = find_method(self, access->name.view())) {
      return method(machine, self, machine.evaluate_arguments(arguments));
    }
    const Value function = machine.attribute(self, access->name);
    return machine.call(function, machine.evaluate_arguments(arguments));
  }
  const Value function = machine.evaluate(*callee);
  const Arguments evaluated = machine.evaluate_arguments(arguments);
  return machine.call(function, evaluated);
}

Value FilterExpression::evaluate(Machine& machine) const {
  return machine.apply(filter, machine.evaluate(*input));
}

Value TestExpression::evaluate(Machine& machine) const {
  if (function == nullptr) fail("No test named '{}'.", name);
  const Value tested = machine.evaluate(*input);
  return Value::boolean(function(machine, tested, machine.evaluate_arguments(arguments)));
}

Value UnaryExpression::evaluate(Machine& machine) const {
  const Value value = machine.evaluate(*operand);
  if (operation == UnaryOperator::kNot) return Value::boolean(!truthy(value));
  if (operation == UnaryOperator::kNegate) return negate(value);
  require_defined(value);
  if (!value.is_number()) fail("bad operand type for unary +: '{}'", type_name(value));
  return value.is(Kind::kBoolean) ? Value::integer(value.as_integer()) : value;
}

Value BinaryExpression::evaluate(Machine& machine) const {
  const Value first = machine.evaluate(*left);
  const Value second = machine.evaluate(*right);
  return apply_operator(machine, operation, first, second);
}

Value LogicalExpression::evaluate(Machine& machine) const {
  Value first = machine.evaluate(*left);
  if (truthy(first) != is_and) return first;
  return machine.evaluate(*right);
}

Value ComparisonChain::evaluate(Machine& machine) const {
  Value left = machine.evaluate(*first);
  for (const auto& [comparison, operand] : rest) {
    Value right = machine.evaluate(*operand);
    if (!holds(machine, comparison, left, right)) return Value::boolean(false);
    left = std::move(right);
  }
  return Value::boolean(true);
}

Value Concatenation::evaluate(Machine& machine) const {
  TextBuilder out(machine.budget());
  for (const auto& item : items) machine.append_text(out, machine.evaluate(*item));
  return Value::string(out.finish());
}

Value ConditionalExpression::evaluate(Machine& machine) const {
  if (truthy(machine.evaluate(*condition))) return machine.evaluate(*when_true);
  if (when_false) return machine.evaluate(*when_false);
  return Value::undefined(fmt::format(
      "the inline if-expression on line {} evaluated to false and no else section was defined.",
      line));
}

}  // namespace tutti::text::jinja
