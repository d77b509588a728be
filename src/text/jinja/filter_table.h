// The parts of the table of filters.
#pragma once

#include <span>
#include <string_view>

#include "text/jinja/ast.h"

namespace tutti::text::jinja {

struct NamedFilter {
  std::string_view name;
  FilterFunction function;
};

std::span<const NamedFilter> text_filters();
std::span<const NamedFilter> sequence_filters();
std::span<const NamedFilter> value_filters();

}  // namespace tutti::text::jinja
