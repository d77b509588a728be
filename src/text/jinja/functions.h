// Filters, tests, global functions and methods by name.
#pragma once

#include <optional>
#include <string_view>

#include "text/jinja/ast.h"

namespace tutti::text::jinja {

// nullptr for an unknown name.
FilterFunction find_filter(std::string_view name);
TestFunction find_test(std::string_view name);
GlobalFunction find_global(std::string_view name);

// Calls the method of a str, list, dict, int or float. nullopt when its type has no such method.
using MethodFunction = Value (*)(Machine&, const Value& self, const Arguments&);
MethodFunction find_method(const Value& self, std::string_view name);

}  // namespace tutti::text::jinja
