// The syntax tree of a template. Nodes evaluate themselves: one small function each, in
// jinja/expressions.cc and jinja/statements.cc. A tree is constant once parsed.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "text/jinja/value.h"

namespace tutti::text::jinja {

// An index into Program::names.
using Symbol = int;

struct Expression {
  int line = 0;
  int height = 1;  // of the tree below, so that its depth can be bounded
  virtual ~Expression() = default;
  // Called by Machine::evaluate only, which counts the step.
  virtual Value evaluate(Machine& machine) const = 0;
};
using ExpressionPtr = std::unique_ptr<Expression>;

// What a statement asks of the loop around it.
enum class Flow { kNext, kBreak, kContinue };

struct Statement {
  int line = 0;
  virtual ~Statement() = default;
  virtual Flow execute(Machine& machine) const = 0;
};
using Body = std::vector<std::unique_ptr<Statement>>;

using FilterFunction = Value (*)(Machine&, const Value& input, const Arguments&);
using TestFunction = bool (*)(Machine&, const Value& input, const Arguments&);
using GlobalFunction = Value (*)(Machine&, const Arguments&);

struct ArgumentList {
  std::vector<ExpressionPtr> positional;
  std::vector<std::pair<std::string, ExpressionPtr>> keyword;
  ExpressionPtr starred;         // *expression
  ExpressionPtr double_starred;  // **expression
};

// A filter with its arguments; `function` is null for an unknown name, which is an error when used.
struct FilterCall {
  std::string name;
  FilterFunction function = nullptr;
  ArgumentList arguments;
};

struct Constant : Expression {
  Value value;  // none, bool, number, string: nothing that belongs to a heap
  Value evaluate(Machine& machine) const override;
};
struct SequenceLiteral : Expression {
  Kind kind = Kind::kList;  // or kTuple
  std::vector<ExpressionPtr> items;
  Value evaluate(Machine& machine) const override;
};
struct DictLiteral : Expression {
  std::vector<std::pair<ExpressionPtr, ExpressionPtr>> entries;
  Value evaluate(Machine& machine) const override;
};
struct Name : Expression {
  Symbol symbol = 0;
  std::string name;
  GlobalFunction global = nullptr;  // what the name means where no scope has it
  Value evaluate(Machine& machine) const override;
};
struct AttributeAccess : Expression {
  ExpressionPtr object;
  Text name;
  Value evaluate(Machine& machine) const override;
};
struct ItemAccess : Expression {
  ExpressionPtr object;
  ExpressionPtr key;
  Value evaluate(Machine& machine) const override;
};
struct SliceAccess : Expression {
  ExpressionPtr object;
  ExpressionPtr start, stop, step;  // each may be null
  Value evaluate(Machine& machine) const override;
};
struct CallExpression : Expression {
  ExpressionPtr callee;
  ArgumentList arguments;
  Value evaluate(Machine& machine) const override;
};
struct FilterExpression : Expression {
  ExpressionPtr input;
  FilterCall filter;
  Value evaluate(Machine& machine) const override;
};
struct TestExpression : Expression {
  ExpressionPtr input;
  std::string name;
  TestFunction function = nullptr;
  ArgumentList arguments;
  Value evaluate(Machine& machine) const override;
};
enum class UnaryOperator { kNot, kNegate, kPlus };
struct UnaryExpression : Expression {
  UnaryOperator operation = UnaryOperator::kNot;
  ExpressionPtr operand;
  Value evaluate(Machine& machine) const override;
};
enum class BinaryOperator { kAdd, kSubtract, kMultiply, kDivide, kFloorDivide, kModulo, kPower };
struct BinaryExpression : Expression {
  BinaryOperator operation = BinaryOperator::kAdd;
  ExpressionPtr left, right;
  Value evaluate(Machine& machine) const override;
};
struct LogicalExpression : Expression {
  bool is_and = false;  // otherwise or
  ExpressionPtr left, right;
  Value evaluate(Machine& machine) const override;
};
enum class Comparison {
  kEqual,
  kNotEqual,
  kLess,
  kLessEqual,
  kGreater,
  kGreaterEqual,
  kIn,
  kNotIn
};
struct ComparisonChain : Expression {
  ExpressionPtr first;
  std::vector<std::pair<Comparison, ExpressionPtr>> rest;
  Value evaluate(Machine& machine) const override;
};
struct Concatenation : Expression {
  std::vector<ExpressionPtr> items;
  Value evaluate(Machine& machine) const override;
};
struct ConditionalExpression : Expression {
  ExpressionPtr condition, when_true;
  ExpressionPtr when_false;  // may be null: undefined
  Value evaluate(Machine& machine) const override;
};

// Where a value is assigned to: a name, a namespace's attribute, or several of them.
struct Target {
  Symbol symbol = 0;
  std::string attribute;      // set for `namespace.attribute`
  std::vector<Target> items;  // set for `a, b`
  bool is_tuple = false;
};

struct DataStatement : Statement {
  Text data;
  Flow execute(Machine& machine) const override;
};
struct PrintStatement : Statement {
  ExpressionPtr value;
  Flow execute(Machine& machine) const override;
};
struct IfStatement : Statement {
  std::vector<std::pair<ExpressionPtr, Body>> branches;  // if and every elif
  Body otherwise;
  Flow execute(Machine& machine) const override;
};
struct ForStatement : Statement {
  Target target;
  ExpressionPtr iterable;
  ExpressionPtr condition;  // may be null
  bool is_recursive = false;
  Body body;
  Body otherwise;
  Symbol loop_symbol = 0;
  Flow execute(Machine& machine) const override;
};
struct SetStatement : Statement {
  Target target;
  ExpressionPtr value;
  Flow execute(Machine& machine) const override;
};
struct SetBlockStatement : Statement {
  Target target;
  std::vector<FilterCall> filters;
  Body body;
  Flow execute(Machine& machine) const override;
};
struct FilterBlockStatement : Statement {
  std::vector<FilterCall> filters;
  Body body;
  Flow execute(Machine& machine) const override;
};

struct Parameter {
  Symbol symbol = 0;
  std::string name;
  ExpressionPtr default_value;  // may be null
};
struct MacroDefinition {
  std::string name;
  std::vector<Parameter> parameters;
  Body body;
  bool uses_caller = false, uses_varargs = false, uses_kwargs = false;
  Symbol caller_symbol = 0, varargs_symbol = 0, kwargs_symbol = 0;
};
struct MacroStatement : Statement {
  MacroDefinition macro;
  Symbol symbol = 0;
  Flow execute(Machine& machine) const override;
};
struct CallBlockStatement : Statement {
  MacroDefinition caller;
  std::unique_ptr<CallExpression> call;
  Flow execute(Machine& machine) const override;
};
// `with`, and with no variables every tag that only opens a scope: generation, block, autoescape.
struct ScopeStatement : Statement {
  std::vector<std::pair<Target, ExpressionPtr>> variables;
  Body body;
  Flow execute(Machine& machine) const override;
};
struct LoopControlStatement : Statement {
  Flow flow = Flow::kBreak;
  Flow execute(Machine& machine) const override;
};
struct ExpressionStatement : Statement {  // do
  ExpressionPtr value;
  Flow execute(Machine& machine) const override;
};
// include, import, extends: there are no other templates. An error when reached.
struct UnavailableStatement : Statement {
  std::string tag;
  Flow execute(Machine& machine) const override;
};

struct Program {
  std::vector<std::string> names;  // by Symbol
  Body body;
};

}  // namespace tutti::text::jinja
