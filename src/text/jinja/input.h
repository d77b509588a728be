// The variables of a render: JSON → values, with the provenance of their strings.
#pragma once

#include <boost/json/object.hpp>
#include <string>
#include <vector>

#include "text/jinja/machine.h"

namespace tutti::text::jinja {

// Binds the variables in the machine's outermost scope. Strings are content but for those of
// RenderOptions::trusted_variables, top-level plain words and the names of well-known roles.
void set_variables(Machine& machine, const boost::json::object& variables,
                   const std::vector<std::string>& trusted);

// A value whose strings, and keys, are content.
Value value_of(Heap& heap, const boost::json::value& source, int depth = 0);

}  // namespace tutti::text::jinja
