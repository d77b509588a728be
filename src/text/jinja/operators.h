// Python's operators on values.
#pragma once

#include "text/jinja/ast.h"
#include "text/jinja/machine.h"

namespace tutti::text::jinja {

// Throws what Python raises: "can only concatenate str (not "list") to str", "division by zero" …
Value apply_operator(Machine& machine, BinaryOperator operation, const Value& left,
                     const Value& right);
Value negate(const Value& value);
// `item in container`.
bool contains(Machine& machine, const Value& container, const Value& item);
bool holds(Machine& machine, Comparison comparison, const Value& left, const Value& right);
// Python's round() of a float, half to even on the decimal digits as written.
double round_to(double value, int digits);

}  // namespace tutti::text::jinja
