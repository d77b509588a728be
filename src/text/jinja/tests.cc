// The tests of Jinja2: `value is name(arguments)`.
#include <array>

#include "text/jinja/arguments.h"
#include "text/jinja/functions.h"
#include "text/jinja/objects.h"
#include "text/jinja/operators.h"

namespace tutti::text::jinja {
namespace {

const Value& operand(const Arguments& arguments) {
  if (arguments.positional.size() != 1 || !arguments.keyword.empty()) {
    fail("the test takes exactly one argument");
  }
  return arguments.positional.front();
}

template <Comparison kComparison>
bool compares(Machine& machine, const Value& value, const Arguments& arguments) {
  return holds(machine, kComparison, value, operand(arguments));
}

Integer remainder(Machine& machine, const Value& value, const Value& divisor) {
  const Value result = apply_operator(machine, BinaryOperator::kModulo, value, divisor);
  return result.is_integral() ? result.as_integer() : (result.as_real() != 0 ? 2 : 0);
}

bool is_even(Machine& machine, const Value& value, const Arguments&) {
  return remainder(machine, value, Value::integer(2)) == 0;
}
bool is_odd(Machine& machine, const Value& value, const Arguments&) {
  return remainder(machine, value, Value::integer(2)) == 1;
}
bool is_divisible_by(Machine& machine, const Value& value, const Arguments& arguments) {
  return remainder(machine, value, operand(arguments)) == 0;
}

bool is_iterable(Machine& machine, const Value& value, const Arguments&) {
  if (value.is_string() || value.is_undefined() || value.is_sequence() || value.is(Kind::kDict)) {
    return true;
  }
  if (!value.is(Kind::kOther)) return false;
  return dynamic_cast<IteratorObject*>(value.as_object()) != nullptr ||
         machine.length(value).has_value();
}

bool is_sequence(Machine&, const Value& value, const Arguments&) {
  if (value.is(Kind::kOther)) return dynamic_cast<RangeObject*>(value.as_object()) != nullptr;
  return value.is_string() || value.is_sequence() || value.is(Kind::kDict) || value.is_undefined();
}

// Whether every letter is of the wanted case, and there is one.
bool has_case(Machine& machine, const Value& value, bool wants_upper) {
  const Text text = machine.to_text(value);
  bool has_letter = false;
  for (std::size_t i = 0; i < text.size();) {
    const CodePoint point = code_point_at(text.view(), i);
    i += point.length;
    if (wants_upper ? is_lower(point.value) : is_upper(point.value)) return false;
    has_letter |= wants_upper ? is_upper(point.value) : is_lower(point.value);
  }
  machine.budget().spend_for_bytes(text.size());
  return has_letter;
}

bool is_same(Machine& machine, const Value& value, const Arguments& arguments) {
  const Value& other = operand(arguments);
  if (value.kind() != other.kind()) return false;
  if (value.is_sequence() || value.is(Kind::kDict) || value.is(Kind::kOther)) {
    return value.as_object() == other.as_object();
  }
  return equal(machine.budget(), value, other);
}

template <Kind kKind>
bool is_kind(Machine&, const Value& value, const Arguments&) {
  return value.is(kKind);
}

struct NamedTest {
  std::string_view name;
  TestFunction function;
};
using M = Machine&;
using V = const Value&;
using A = const Arguments&;
constexpr std::array kTests = {
    NamedTest{"boolean", is_kind<Kind::kBoolean>},
    NamedTest{"callable",
              [](M, V v, A) { return v.is(Kind::kOther) && v.as_object()->is_callable(); }},
    NamedTest{"defined", [](M, V v, A) { return !v.is_undefined(); }},
    NamedTest{"divisibleby", is_divisible_by},
    NamedTest{"eq", compares<Comparison::kEqual>},
    NamedTest{"equalto", compares<Comparison::kEqual>},
    NamedTest{"==", compares<Comparison::kEqual>},
    NamedTest{"escaped", [](M, V v, A) { return v.is_string() && v.as_text().is_markup(); }},
    NamedTest{"even", is_even},
    NamedTest{"false", [](M, V v, A) { return v.is(Kind::kBoolean) && !v.as_boolean(); }},
    NamedTest{"filter",
              [](M, V v, A) { return v.is_string() && find_filter(v.view()) != nullptr; }},
    NamedTest{"float", is_kind<Kind::kReal>},
    NamedTest{"ge", compares<Comparison::kGreaterEqual>},
    NamedTest{">=", compares<Comparison::kGreaterEqual>},
    NamedTest{"gt", compares<Comparison::kGreater>},
    NamedTest{"greaterthan", compares<Comparison::kGreater>},
    NamedTest{">", compares<Comparison::kGreater>},
    NamedTest{"in", compares<Comparison::kIn>},
    NamedTest{"integer", is_kind<Kind::kInteger>},
    NamedTest{"iterable", is_iterable},
    NamedTest{"le", compares<Comparison::kLessEqual>},
    NamedTest{"<=", compares<Comparison::kLessEqual>},
    NamedTest{"lower", [](M m, V v, A) { return has_case(m, v, false); }},
    NamedTest{"lt", compares<Comparison::kLess>},
    NamedTest{"lessthan", compares<Comparison::kLess>},
    NamedTest{"<", compares<Comparison::kLess>},
    NamedTest{"mapping", is_kind<Kind::kDict>},
    NamedTest{"ne", compares<Comparison::kNotEqual>},
    NamedTest{"!=", compares<Comparison::kNotEqual>},
    NamedTest{"none", is_kind<Kind::kNone>},
    NamedTest{"number", [](M, V v, A) { return v.is_number(); }},
    NamedTest{"odd", is_odd},
    NamedTest{"sameas", is_same},
    NamedTest{"sequence", is_sequence},
    NamedTest{"string", is_kind<Kind::kString>},
    NamedTest{"test", [](M, V v, A) { return v.is_string() && find_test(v.view()) != nullptr; }},
    NamedTest{"true", [](M, V v, A) { return v.is(Kind::kBoolean) && v.as_boolean(); }},
    NamedTest{"undefined", [](M, V v, A) { return v.is_undefined(); }},
    NamedTest{"upper", [](M m, V v, A) { return has_case(m, v, true); }},
};

}  // namespace

TestFunction find_test(std::string_view name) {
  for (const auto& test : kTests) {
    if (test.name == name) return test.function;
  }
  return nullptr;
}

}  // namespace tutti::text::jinja
