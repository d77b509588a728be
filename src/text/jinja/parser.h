// Tokens → syntax tree, with the grammar and the precedences of Jinja2's parser and the tags of
// its loop controls, `do` and transformers' `generation`.
#pragma once

#include <memory>
#include <string_view>

#include "base/result.h"
#include "text/jinja/ast.h"

namespace tutti::text::jinja {

// Errors: kInvalidArgument with the line: syntax, or nesting over the parser's bounds.
Result<std::shared_ptr<const Program>> parse_program(std::string_view source);

}  // namespace tutti::text::jinja
