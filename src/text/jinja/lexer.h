// Source of a template → tokens, as Jinja2's lexer does with trim_blocks and lstrip_blocks: white
// space around tags is already cut from the data, raw blocks are data, comments are gone.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "text/jinja/value.h"

namespace tutti::text::jinja {

enum class TokenKind {
  kData,
  kVariableBegin,
  kVariableEnd,
  kBlockBegin,
  kBlockEnd,
  kName,
  kString,
  kInteger,
  kReal,
  kOperator,
  kEnd,
};

struct Token {
  TokenKind kind;
  int line;          // from 1
  std::string text;  // data, name, the string's value, the operator
  Value number;      // of kInteger and kReal
};

// Ends with one kEnd token. Errors: kInvalidArgument with the line.
Result<std::vector<Token>> tokenize_template(std::string_view source);

}  // namespace tutti::text::jinja
