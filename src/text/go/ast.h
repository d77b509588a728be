// The syntax tree of Ollama's templates (Go's text/template).
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/result.h"
#include "text/jinja/value.h"

namespace tutti::text::go {

struct Pipeline;

enum class OperandKind { kConstant, kDot, kVariable, kFunction, kParentheses };

// A value and the fields taken of it: .Function.Name, $message.Role, (index .Messages 0).Content
struct Operand {
  OperandKind kind = OperandKind::kDot;
  jinja::Value constant;
  std::string name;  // of the variable ("$x") or the function
  std::shared_ptr<const Pipeline> inner;
  std::vector<std::string> fields;
};

// Operands of one command; the first may be a function.
using Command = std::vector<Operand>;

// $a, $b := command | command | …
struct Pipeline {
  int line = 1;
  std::vector<std::string> variables;
  bool is_assignment = false;  // "=": the variables exist already
  std::vector<Command> commands;
};

enum class NodeKind { kText, kPrint, kIf, kWith, kRange, kTemplate, kBreak, kContinue };

struct Node {
  NodeKind kind = NodeKind::kText;
  jinja::Text text;  // of kText; the name of kTemplate
  std::optional<Pipeline> pipeline;
  std::vector<Node> body;
  std::vector<Node> otherwise;  // else
};

struct Program {
  std::vector<Node> root;
  std::map<std::string, std::vector<Node>, std::less<>> templates;  // define
  std::set<std::string, std::less<>> fields;                        // every field that is read
};

// Errors: kInvalidArgument with the line.
Result<std::shared_ptr<const Program>> parse_program(std::string_view source);

}  // namespace tutti::text::go
