#include "text/go/functions.h"

#include <fmt/format.h>

#include <array>

#include "text/jinja/arguments.h"
#include "text/jinja/format.h"
#include "text/jinja/operators.h"

namespace tutti::text::go {
namespace {

using jinja::fail;
using jinja::Kind;
using jinja::Machine;
using jinja::Text;
using jinja::TextBuilder;
using jinja::Value;
using Values = std::vector<Value>;

const Value& argument(const Values& values, std::size_t i) {
  if (i >= values.size()) fail("a function has too few arguments");
  return values[i];
}

Text printed(Machine& machine, const Value& value) {
  TextBuilder out(machine.budget(), machine.max_output_bytes());
  append_printed(machine, out, value);
  return out.finish();
}

// json.Marshal: no spaces, and < > & escaped.
Text to_json(Machine& machine, const Value& value) {
  jinja::JsonOptions options;
  options.escape_html = true;
  options.item_separator = Text::literal(",");
  options.key_separator = Text::literal(":");
  TextBuilder out(machine.budget(), machine.max_output_bytes());
  jinja::append_json(machine, out, value, options);
  return out.finish();
}

Value json(Machine& machine, const Values& values) {
  return Value::string(to_json(machine, argument(values, 0)));
}

Value negation(Machine&, const Values& values) {
  return Value::boolean(!jinja::truthy(argument(values, 0)));
}

Value equals(Machine& machine, const Values& values) {
  const Value& first = argument(values, 0);
  argument(values, 1);
  for (std::size_t i = 1; i < values.size(); ++i) {
    if (jinja::equal(machine.budget(), first, values[i])) return Value::boolean(true);
  }
  return Value::boolean(false);
}

template <jinja::Comparison kComparison>
Value compares(Machine& machine, const Values& values) {
  return Value::boolean(
      jinja::holds(machine, kComparison, argument(values, 0), argument(values, 1)));
}

Value length(Machine& machine, const Values& values) {
  const Value& value = argument(values, 0);
  if (value.is_none()) return Value::integer(0);
  if (value.is_string()) {
    return Value::integer(static_cast<jinja::Integer>(value.as_text().size()));
  }
  const auto count = machine.length(value);
  if (!count) fail("len of type {}", jinja::type_name(value));
  return Value::integer(static_cast<jinja::Integer>(*count));
}

Value index(Machine& machine, const Values& values) {
  Value value = argument(values, 0);
  for (std::size_t i = 1; i < values.size(); ++i) {
    const bool is_list = value.is_sequence();
    if (is_list && values[i].is_integral() && values[i].as_integer() < 0) {
      fail("index out of range: {}", jinja::integer_text(values[i].as_integer()));
    }
    value = machine.item(value, values[i]);
    if (value.is_undefined() && is_list) fail("index out of range");
    if (value.is_undefined()) value = Value();
  }
  return value;
}

// slice x i j: x[i:j], of strings in bytes.
Value slice(Machine& machine, const Values& values) {
  const Value& value = argument(values, 0);
  const auto size = static_cast<jinja::Integer>(
      value.is_string() ? value.as_text().size() : machine.length(value).value_or(0));
  const auto bound = [&](std::size_t i, jinja::Integer otherwise) {
    if (i >= values.size()) return otherwise;
    if (!values[i].is_integral()) fail("slice needs whole numbers");
    return values[i].as_integer();
  };
  const jinja::Integer begin = bound(1, 0);
  const jinja::Integer end = bound(2, size);
  if (begin < 0 || end > size || begin > end) fail("slice index out of range");
  if (value.is_string()) {
    return Value::string(jinja::slice_text(machine.budget(), value.as_text(),
                                           static_cast<std::size_t>(begin),
                                           static_cast<std::size_t>(end)));
  }
  if (!value.is_sequence()) fail("slice of type {}", jinja::type_name(value));
  return machine.slice(value, Value::integer(begin), Value::integer(end), Value());
}

// Operands are set apart by a space where neither of two neighbours is a string.
Value print(Machine& machine, const Values& values) {
  TextBuilder out(machine.budget());
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (i > 0 && !values[i].is_string() && !values[i - 1].is_string()) out.append_template(" ");
    append_printed(machine, out, values[i]);
  }
  return Value::string(out.finish());
}

Value println(Machine& machine, const Values& values) {
  TextBuilder out(machine.budget());
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (i > 0) out.append_template(" ");
    append_printed(machine, out, values[i]);
  }
  out.append_template("\n");
  return Value::string(out.finish());
}

// Go's verbs %v, %t and %q become %s of the text they ask for; the others are Python's too.
Value printf(Machine& machine, const Values& values) {
  const Value& format = argument(values, 0);
  if (!format.is_string()) fail("printf needs a format");
  TextBuilder pattern(machine.budget());
  Values rest;
  std::size_t next = 1;
  bool in_verb = false;
  for (std::size_t i = 0; i < format.view().size(); ++i) {
    const char c = format.view()[i];
    const bool is_letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    if (in_verb && is_letter) {
      const Value& value = argument(values, next++);
      const bool as_text = c == 'v' || c == 't' || c == 's' || c == 'q';
      if (c == 'q') {
        rest.push_back(Value::string(to_json(machine, Value::string(printed(machine, value)))));
      } else {
        rest.push_back(as_text ? Value::string(printed(machine, value)) : value);
      }
      pattern.append_template(as_text ? "s" : std::string_view(&c, 1));
      in_verb = false;
      continue;
    }
    pattern.append_range(format.as_text(), i, i + 1);
    if (c == '%') in_verb = !in_verb;
  }
  return Value::string(
      jinja::format_percent(machine, pattern.finish(), machine.heap().tuple(std::move(rest))));
}

Value html(Machine& machine, const Values& values) {
  return Value::string(jinja::escape_text(machine.budget(), printed(machine, argument(values, 0)))
                           .with_markup(false));
}

Value current_date(Machine& machine, const Values&) {
  return machine.heap().string(jinja::format_time(machine.now(), "%Y-%m-%d"));
}

struct NamedFunction {
  std::string_view name;
  Function function;
};
constexpr std::array kFunctions = {
    NamedFunction{"not", negation},
    NamedFunction{"eq", equals},
    NamedFunction{"ne", compares<jinja::Comparison::kNotEqual>},
    NamedFunction{"lt", compares<jinja::Comparison::kLess>},
    NamedFunction{"le", compares<jinja::Comparison::kLessEqual>},
    NamedFunction{"gt", compares<jinja::Comparison::kGreater>},
    NamedFunction{"ge", compares<jinja::Comparison::kGreaterEqual>},
    NamedFunction{"len", length},
    NamedFunction{"index", index},
    NamedFunction{"slice", slice},
    NamedFunction{"json", json},
    NamedFunction{"print", print},
    NamedFunction{"println", println},
    NamedFunction{"printf", printf},
    NamedFunction{"html", html},
    NamedFunction{"currentDate", current_date},
};

}  // namespace

Function find_function(std::string_view name) {
  for (const auto& function : kFunctions) {
    if (function.name == name) return function.function;
  }
  return nullptr;
}

void append_printed(Machine& machine, TextBuilder& out, const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
    case Kind::kNone:
      return;
    case Kind::kString:
      return out.append(value.as_text());
    case Kind::kBoolean:
      return out.append_template(value.as_boolean() ? "true" : "false");
    case Kind::kReal:
      return out.append_template(fmt::format("{}", value.as_real()));
    case Kind::kInteger:
      return out.append_template(jinja::integer_text(value.as_integer()));
    default:
      return out.append(to_json(machine, value));
  }
}

}  // namespace tutti::text::go
