#include "text/jinja/operators.h"

#include <array>
#include <charconv>
#include <cmath>

#include "text/jinja/arguments.h"
#include "text/jinja/format.h"
#include "text/jinja/unicode.h"

namespace tutti::text::jinja {
namespace {

const char* symbol_of(BinaryOperator operation) {
  switch (operation) {
    case BinaryOperator::kAdd:
      return "+";
    case BinaryOperator::kSubtract:
      return "-";
    case BinaryOperator::kMultiply:
      return "*";
    case BinaryOperator::kDivide:
      return "/";
    case BinaryOperator::kFloorDivide:
      return "//";
    case BinaryOperator::kModulo:
      return "%";
    case BinaryOperator::kPower:
      return "** or pow()";
  }
  return "?";
}

[[noreturn]] void fail_operands(BinaryOperator operation, const Value& left, const Value& right) {
  fail("unsupported operand type(s) for {}: '{}' and '{}'", symbol_of(operation), type_name(left),
       type_name(right));
}

[[noreturn]] void fail_too_large() { fail("integer too large"); }

Integer floor_divide(Integer a, Integer b) {
  if (b == 0) fail("integer division or modulo by zero");
  if (b == -1) {
    Integer negated = 0;
    if (__builtin_sub_overflow(static_cast<Integer>(0), a, &negated)) fail_too_large();
    return negated;
  }
  const Integer quotient = a / b;
  return (a % b != 0 && (a < 0) != (b < 0)) ? quotient - 1 : quotient;
}

Integer floor_modulo(Integer a, Integer b) {
  if (b == 0) fail("integer modulo by zero");
  if (b == -1) return 0;
  const Integer remainder = a % b;
  return (remainder != 0 && (remainder < 0) != (b < 0)) ? remainder + b : remainder;
}

double floor_modulo(double a, double b) {
  if (b == 0) fail("float modulo");
  double remainder = std::fmod(a, b);
  if (remainder != 0) {
    if ((remainder < 0) != (b < 0)) remainder += b;
  } else {
    remainder = std::copysign(0.0, b);
  }
  return remainder;
}

Value power(const Value& left, const Value& right) {
  if (left.is_integral() && right.is_integral() && right.as_integer() >= 0) {
    Integer result = 1;
    Integer base = left.as_integer();
    for (Integer exponent = right.as_integer(); exponent > 0; exponent /= 2) {
      if (exponent % 2 == 1 && __builtin_mul_overflow(result, base, &result)) fail_too_large();
      if (base == 0 || base == 1) return Value::integer(result * base);
      if (exponent > 1 && __builtin_mul_overflow(base, base, &base)) fail_too_large();
    }
    return Value::integer(result);
  }
  const double base = left.as_real();
  if (base == 0 && right.as_real() < 0) fail("0.0 cannot be raised to a negative power");
  if (base < 0 && right.as_real() != std::floor(right.as_real())) {
    fail("complex numbers are not supported");
  }
  const double result = std::pow(base, right.as_real());
  if (std::isinf(result) && std::isfinite(base) && std::isfinite(right.as_real())) {
    fail("(34, 'Numerical result out of range')");
  }
  return Value::real(result);
}

Value integer_arithmetic(BinaryOperator operation, Integer a, Integer b) {
  Integer result = 0;
  bool overflows = false;
  switch (operation) {
    case BinaryOperator::kAdd:
      overflows = __builtin_add_overflow(a, b, &result);
      break;
    case BinaryOperator::kSubtract:
      overflows = __builtin_sub_overflow(a, b, &result);
      break;
    case BinaryOperator::kMultiply:
      overflows = __builtin_mul_overflow(a, b, &result);
      break;
    case BinaryOperator::kDivide:
      if (b == 0) fail("division by zero");
      return Value::real(static_cast<double>(a) / static_cast<double>(b));
    case BinaryOperator::kFloorDivide:
      result = floor_divide(a, b);
      break;
    default:
      result = floor_modulo(a, b);
  }
  if (overflows) fail_too_large();
  return Value::integer(result);
}

Value real_arithmetic(BinaryOperator operation, double a, double b) {
  switch (operation) {
    case BinaryOperator::kAdd:
      return Value::real(a + b);
    case BinaryOperator::kSubtract:
      return Value::real(a - b);
    case BinaryOperator::kMultiply:
      return Value::real(a * b);
    case BinaryOperator::kDivide:
      if (b == 0) fail("float division by zero");
      return Value::real(a / b);
    case BinaryOperator::kFloorDivide:
      if (b == 0) fail("float floor division by zero");
      return Value::real(std::floor((a - floor_modulo(a, b)) / b + 0.5));
    default:
      return Value::real(floor_modulo(a, b));
  }
}

Value repeat(Machine& machine, const Value& value, Integer count) {
  const Integer times = count < 0 ? 0 : count;
  const std::size_t size =
      value.is_string() ? value.as_text().size() : value.as_sequence().items.size();
  Integer total = 0;
  if (__builtin_mul_overflow(times, static_cast<Integer>(size), &total) ||
      total > (Integer{1} << 40)) {
    fail_limit("the template needs too much memory");
  }
  const auto bytes = static_cast<std::size_t>(total) * (value.is_string() ? 1 : sizeof(Value));
  machine.budget().take(bytes);
  machine.budget().release(bytes);
  machine.budget().spend_for_bytes(bytes);
  const Integer repetitions = size == 0 ? 0 : times;
  if (value.is_string()) {
    TextBuilder out(machine.budget());
    for (Integer i = 0; i < repetitions; ++i) out.append(value.as_text());
    return Value::string(out.finish().with_markup(value.as_text().is_markup()));
  }
  std::vector<Value> items;
  for (Integer i = 0; i < repetitions; ++i) {
    const auto& source = value.as_sequence().items;
    items.insert(items.end(), source.begin(), source.end());
  }
  return value.is(Kind::kList) ? machine.heap().list(std::move(items))
                               : machine.heap().tuple(std::move(items));
}

Value add(Machine& machine, const Value& left, const Value& right) {
  if (left.is_string()) {
    if (!right.is_string()) {
      fail("can only concatenate str (not \"{}\") to str", type_name(right));
    }
    const bool is_markup = left.as_text().is_markup() || right.as_text().is_markup();
    if (!is_markup) {
      return Value::string(concatenate(machine.budget(), left.as_text(), right.as_text()));
    }
    return Value::string(concatenate(machine.budget(),
                                     escape_text(machine.budget(), left.as_text()),
                                     escape_text(machine.budget(), right.as_text()))
                             .with_markup(true));
  }
  if (left.is_sequence()) {
    if (right.kind() != left.kind()) {
      fail("can only concatenate {} (not \"{}\") to {}", type_name(left), type_name(right),
           type_name(left));
    }
    std::vector<Value> items = machine.iterate(left);
    const auto& more = right.as_sequence().items;
    items.insert(items.end(), more.begin(), more.end());
    return left.is(Kind::kList) ? machine.heap().list(std::move(items))
                                : machine.heap().tuple(std::move(items));
  }
  fail_operands(BinaryOperator::kAdd, left, right);
}

bool is_repetition(const Value& value, const Value& count) {
  return (value.is_string() || value.is_sequence()) && count.is_integral();
}

}  // namespace

Value apply_operator(Machine& machine, BinaryOperator operation, const Value& left,
                     const Value& right) {
  require_defined(left);
  require_defined(right);
  if (left.is_number() && right.is_number()) {
    if (operation == BinaryOperator::kPower) return power(left, right);
    if (left.is_integral() && right.is_integral()) {
      return integer_arithmetic(operation, left.as_integer(), right.as_integer());
    }
    return real_arithmetic(operation, left.as_real(), right.as_real());
  }
  if (operation == BinaryOperator::kAdd) return add(machine, left, right);
  if (operation == BinaryOperator::kModulo && left.is_string()) {
    return Value::string(format_percent(machine, left.as_text(), right));
  }
  if (operation == BinaryOperator::kMultiply) {
    if (is_repetition(left, right)) return repeat(machine, left, right.as_integer());
    if (is_repetition(right, left)) return repeat(machine, right, left.as_integer());
  }
  fail_operands(operation, left, right);
}

Value negate(const Value& value) {
  require_defined(value);
  if (value.is_integral()) {
    Integer result = 0;
    if (__builtin_sub_overflow(static_cast<Integer>(0), value.as_integer(), &result)) {
      fail_too_large();
    }
    return Value::integer(result);
  }
  if (value.is_number()) return Value::real(-value.as_real());
  fail("bad operand type for unary -: '{}'", type_name(value));
}

bool contains(Machine& machine, const Value& container, const Value& item) {
  switch (container.kind()) {
    case Kind::kString:
      if (!item.is_string()) {
        require_defined(item);
        fail("'in <string>' requires string as left operand, not {}", type_name(item));
      }
      machine.budget().spend_for_bytes(container.as_text().size());
      return find_bytes(container.view(), item.view(), 0) != std::string_view::npos;
    case Kind::kDict:
      return container.as_dict().find(machine.budget(), item) != nullptr;
    case Kind::kList:
    case Kind::kTuple:
      machine.budget().spend(static_cast<std::int64_t>(container.as_sequence().items.size() / 4));
      for (const Value& element : container.as_sequence().items) {
        if (equal(machine.budget(), element, item)) return true;
      }
      return false;
    case Kind::kUndefined:
      return false;
    case Kind::kOther:
      for (const Value& element : machine.iterate(container)) {
        if (equal(machine.budget(), element, item)) return true;
      }
      return false;
    default:
      fail("argument of type '{}' is not iterable", type_name(container));
  }
}

bool holds(Machine& machine, Comparison comparison, const Value& left, const Value& right) {
  switch (comparison) {
    case Comparison::kEqual:
      return equal(machine.budget(), left, right);
    case Comparison::kNotEqual:
      return !equal(machine.budget(), left, right);
    case Comparison::kLess:
      return compare(machine.budget(), left, right, "<") == -1;
    case Comparison::kLessEqual:
      return compare(machine.budget(), left, right, "<=") <= 0;
    case Comparison::kGreater:
      return compare(machine.budget(), left, right, ">") == 1;
    case Comparison::kGreaterEqual: {
      const int order = compare(machine.budget(), left, right, ">=");
      return order == 0 || order == 1;
    }
    case Comparison::kIn:
      return contains(machine, right, left);
    case Comparison::kNotIn:
      return !contains(machine, right, left);
  }
  return false;
}

double round_to(double value, int digits) {
  if (!std::isfinite(value) || digits > 300) return value;
  if (digits < -300) return 0.0;
  if (digits >= 0) {
    std::array<char, 700> buffer;
    const auto written = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value,
                                       std::chars_format::fixed, digits);
    double rounded = value;
    std::from_chars(buffer.data(), written.ptr, rounded);
    return rounded;
  }
  const double scale = std::pow(10.0, -digits);
  return std::nearbyint(value / scale) * scale;
}

}  // namespace tutti::text::jinja
