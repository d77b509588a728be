// The global functions of templates.
#include <array>

#include "text/jinja/arguments.h"
#include "text/jinja/format.h"
#include "text/jinja/functions.h"
#include "text/jinja/objects.h"

namespace tutti::text::jinja {
namespace {

// As many values as Jinja's sandbox lets a range have.
constexpr std::size_t kMaxRange = 100'000;

Value range(Machine& machine, const Arguments& arguments) {
  const auto& given = arguments.positional;
  if (given.empty() || given.size() > 3 || !arguments.keyword.empty()) {
    fail("range expected 1 to 3 arguments, got {}", given.size());
  }
  for (const Value& value : given) {
    require_defined(value);
    if (!value.is_integral()) {
      fail("'{}' object cannot be interpreted as an integer", type_name(value));
    }
    constexpr Integer kLargest = Integer{1} << 64;
    if (value.as_integer() > kLargest || value.as_integer() < -kLargest) {
      fail("range() argument is too large");
    }
  }
  const Integer start = given.size() == 1 ? 0 : given[0].as_integer();
  const Integer stop = given.size() == 1 ? given[0].as_integer() : given[1].as_integer();
  const Integer step = given.size() == 3 ? given[2].as_integer() : 1;
  if (step == 0) fail("range() arg 3 must not be zero");
  auto* made = machine.heap().make<RangeObject>(start, stop, step);
  if (made->count() > kMaxRange) {
    fail_limit("Range too big. The sandbox blocks ranges larger than MAX_RANGE ({}).", kMaxRange);
  }
  return Value::object(made);
}

// Fills a dict from another one or from pairs, and from keywords.
Dict* build_dict(Machine& machine, const Arguments& arguments) {
  Dict* dict = machine.heap().dict();
  if (arguments.positional.size() > 1) fail("dict expected at most 1 argument");
  if (!arguments.positional.empty()) {
    const Value& source = arguments.positional.front();
    if (source.is(Kind::kDict)) {
      for (const auto& entry : source.as_dict().entries()) {
        machine.heap().put(*dict, entry.key, entry.value);
      }
    } else {
      for (const Value& pair : machine.iterate(source)) {
        const std::vector<Value> parts = machine.iterate(pair);
        if (parts.size() != 2) fail("dictionary update sequence element is not a pair");
        machine.heap().put(*dict, parts[0], parts[1]);
      }
    }
  }
  for (const auto& [name, value] : arguments.keyword) {
    machine.heap().put(*dict, machine.heap().string(name), value);
  }
  return dict;
}

Value make_dict(Machine& machine, const Arguments& arguments) {
  return Value::object(build_dict(machine, arguments));
}

Value make_namespace(Machine& machine, const Arguments& arguments) {
  auto* made = machine.heap().make<NamespaceObject>();
  made->attributes = build_dict(machine, arguments);
  return Value::object(made);
}

Value raise_exception(Machine& machine, const Arguments& arguments) {
  const Parameters parameters(machine, "raise_exception", arguments, {"message"});
  throw Failure{FailureKind::kRefusal, std::string(machine.to_text(parameters.require(0)).view())};
}

Value strftime_now(Machine& machine, const Arguments& arguments) {
  const Parameters parameters(machine, "strftime_now", arguments, {"format"});
  const Text format = parameters.string(0);
  if (format.size() > 4096) fail_limit("strftime_now: the format is too long");
  return machine.heap().string(format_time(machine.now(), std::string(format.view())),
                               format.has_content());
}

Value make_joiner(Machine& machine, const Arguments& arguments) {
  const Parameters parameters(machine, "joiner", arguments, {"sep"});
  return Value::object(machine.heap().make<JoinerObject>(Value::string(parameters.text(0, ", "))));
}

Value make_cycler(Machine& machine, const Arguments& arguments) {
  if (arguments.positional.empty()) fail("at least one item has to be provided");
  return Value::object(machine.heap().make<CyclerObject>(arguments.positional));
}

struct NamedGlobal {
  std::string_view name;
  GlobalFunction function;
};
constexpr std::array kGlobals = {
    NamedGlobal{"range", range},
    NamedGlobal{"dict", make_dict},
    NamedGlobal{"namespace", make_namespace},
    NamedGlobal{"raise_exception", raise_exception},
    NamedGlobal{"strftime_now", strftime_now},
    NamedGlobal{"joiner", make_joiner},
    NamedGlobal{"cycler", make_cycler},
};

}  // namespace

GlobalFunction find_global(std::string_view name) {
  for (const auto& global : kGlobals) {
    if (global.name == name) return global.function;
  }
  return nullptr;
}

}  // namespace tutti::text::jinja
