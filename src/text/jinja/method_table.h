// The parts of the table of methods.
#pragma once

#include <span>
#include <string_view>

#include "text/jinja/functions.h"

namespace tutti::text::jinja {

struct NamedMethod {
  std::string_view name;
  MethodFunction function;
};

std::span<const NamedMethod> string_methods();        // that make strings or lists of them
std::span<const NamedMethod> string_query_methods();  // that answer a question
std::span<const NamedMethod> list_methods();
std::span<const NamedMethod> dict_methods();

}  // namespace tutti::text::jinja
