// The functions of Ollama's templates.
#pragma once

#include <string_view>
#include <vector>

#include "text/jinja/machine.h"

namespace tutti::text::go {

using Function = jinja::Value (*)(jinja::Machine&, const std::vector<jinja::Value>&);

// nullptr for an unknown name; `and` and `or` are the interpreter's own.
Function find_function(std::string_view name);

// What printing a value writes: strings as they are, nothing for nil, lists and maps as JSON.
void append_printed(jinja::Machine& machine, jinja::TextBuilder& out, const jinja::Value& value);

}  // namespace tutti::text::go
