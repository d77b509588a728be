// Expressions by precedence, from the conditional down to unary operators; tuples and targets.
#include "text/jinja/expression_parser.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace tutti::text::jinja {
namespace {

// Bounds of recursion: of the parser, and of the trees it makes (a chain a + b + c … grows a tree
// without recursion).
constexpr int kMaxParserDepth = 300;
constexpr int kMaxTreeHeight = 400;

struct ComparisonName {
  std::string_view text;
  Comparison comparison;
};
constexpr std::array<ComparisonName, 6> kComparisons = {{{"==", Comparison::kEqual},
                                                         {"!=", Comparison::kNotEqual},
                                                         {"<", Comparison::kLess},
                                                         {"<=", Comparison::kLessEqual},
                                                         {">", Comparison::kGreater},
                                                         {">=", Comparison::kGreaterEqual}}};

}  // namespace

ExpressionParser::DepthGuard::DepthGuard(ExpressionParser& parser) : parser_(parser) {
  if (++parser_.depth_ > kMaxParserDepth) {
    --parser_.depth_;
    parser_.tokens_.fail("expressions are nested too deep");
  }
}

void ExpressionParser::adopt(Expression& parent, const ExpressionPtr& child) const {
  if (!child) return;
  parent.height = std::max(parent.height, child->height + 1);
  if (parent.height > kMaxTreeHeight) tokens_.fail("the expression is too long", parent.line);
}

void ExpressionParser::adopt(Expression& parent, const ArgumentList& arguments) const {
  for (const auto& argument : arguments.positional) adopt(parent, argument);
  for (const auto& [name, argument] : arguments.keyword) adopt(parent, argument);
  adopt(parent, arguments.starred);
  adopt(parent, arguments.double_starred);
}

Symbol ExpressionParser::symbol(const std::string& name) {
  const auto [found, is_new] = symbols_.try_emplace(name, static_cast<Symbol>(names_.size()));
  if (is_new) names_.push_back(name);
  return found->second;
}

ExpressionPtr ExpressionParser::parse_expression() {
  const DepthGuard guard(*this);
  return parse_conditional();
}

ExpressionPtr ExpressionParser::parse_conditional() {
  const DepthGuard guard(*this);
  int line = tokens_.current().line;
  ExpressionPtr value = parse_or();
  while (tokens_.skip_name("if")) {
    auto node = make<ConditionalExpression>(line);
    node->when_true = std::move(value);
    node->condition = parse_or();
    if (tokens_.skip_name("else")) node->when_false = parse_conditional();
    adopt(*node, node->condition);
    adopt(*node, node->when_true);
    adopt(*node, node->when_false);
    value = std::move(node);
    line = tokens_.current().line;
  }
  return value;
}

ExpressionPtr ExpressionParser::logical(bool is_and, ExpressionPtr left, ExpressionPtr right,
                                        int line) {
  auto node = make<LogicalExpression>(line);
  node->is_and = is_and;
  node->left = std::move(left);
  node->right = std::move(right);
  adopt(*node, node->left);
  adopt(*node, node->right);
  return node;
}

ExpressionPtr ExpressionParser::parse_or() {
  const int line = tokens_.current().line;
  ExpressionPtr left = parse_and();
  while (tokens_.skip_name("or")) left = logical(false, std::move(left), parse_and(), line);
  return left;
}

ExpressionPtr ExpressionParser::parse_and() {
  const int line = tokens_.current().line;
  ExpressionPtr left = parse_not();
  while (tokens_.skip_name("and")) left = logical(true, std::move(left), parse_not(), line);
  return left;
}

ExpressionPtr ExpressionParser::parse_not() {
  if (!tokens_.is_name("not")) return parse_comparison();
  const DepthGuard guard(*this);
  auto node = make<UnaryExpression>(tokens_.next().line);
  node->operand = parse_not();
  adopt(*node, node->operand);
  return node;
}

ExpressionPtr ExpressionParser::parse_comparison() {
  const int line = tokens_.current().line;
  ExpressionPtr first = parse_sum();
  auto node = make<ComparisonChain>(line);
  while (true) {
    const auto* found =
        std::find_if(kComparisons.begin(), kComparisons.end(),
                     [&](const ComparisonName& name) { return tokens_.is_operator(name.text); });
    Comparison comparison = Comparison::kIn;
    if (found != kComparisons.end()) {
      comparison = found->comparison;
    } else if (tokens_.is_name("not") && TokenStream::is_name(tokens_.look(), "in")) {
      tokens_.next();
      comparison = Comparison::kNotIn;
    } else if (!tokens_.is_name("in")) {
      break;
    }
    tokens_.next();
    node->rest.emplace_back(comparison, parse_sum());
    adopt(*node, node->rest.back().second);
  }
  if (node->rest.empty()) return first;
  node->first = std::move(first);
  adopt(*node, node->first);
  return node;
}

ExpressionPtr ExpressionParser::binary(BinaryOperator operation, ExpressionPtr left,
                                       ExpressionPtr right, int line) {
  auto node = make<BinaryExpression>(line);
  node->operation = operation;
  node->left = std::move(left);
  node->right = std::move(right);
  adopt(*node, node->left);
  adopt(*node, node->right);
  return node;
}

ExpressionPtr ExpressionParser::parse_sum() {
  ExpressionPtr left = parse_concatenation();
  while (tokens_.is_operator("+") || tokens_.is_operator("-")) {
    const Token& token = tokens_.next();
    const auto operation = token.text == "+" ? BinaryOperator::kAdd : BinaryOperator::kSubtract;
    const int line = token.line;
    left = binary(operation, std::move(left), parse_concatenation(), line);
  }
  return left;
}

ExpressionPtr ExpressionParser::parse_concatenation() {
  const int line = tokens_.current().line;
  ExpressionPtr first = parse_product();
  if (!tokens_.is_operator("~")) return first;
  auto node = make<Concatenation>(line);
  node->items.push_back(std::move(first));
  while (tokens_.skip_operator("~")) node->items.push_back(parse_product());
  for (const auto& item : node->items) adopt(*node, item);
  return node;
}

ExpressionPtr ExpressionParser::parse_product() {
  static constexpr std::array<std::pair<std::string_view, BinaryOperator>, 4> kOperators = {
      {{"*", BinaryOperator::kMultiply},
       {"/", BinaryOperator::kDivide},
       {"//", BinaryOperator::kFloorDivide},
       {"%", BinaryOperator::kModulo}}};
  ExpressionPtr left = parse_power();
  while (true) {
    const auto* found = std::find_if(kOperators.begin(), kOperators.end(), [&](const auto& name) {
      return tokens_.is_operator(name.first);
    });
    if (found == kOperators.end()) return left;
    const int line = tokens_.next().line;
    left = binary(found->second, std::move(left), parse_power(), line);
  }
}

ExpressionPtr ExpressionParser::parse_power() {
  ExpressionPtr left = parse_unary(true);
  while (tokens_.is_operator("**")) {
    const int line = tokens_.next().line;
    left = binary(BinaryOperator::kPower, std::move(left), parse_unary(true), line);
  }
  return left;
}

ExpressionPtr ExpressionParser::parse_unary(bool with_filters) {
  const DepthGuard guard(*this);
  ExpressionPtr node;
  if (tokens_.is_operator("-") || tokens_.is_operator("+")) {
    const Token& token = tokens_.next();
    auto unary = make<UnaryExpression>(token.line);
    unary->operation = token.text == "-" ? UnaryOperator::kNegate : UnaryOperator::kPlus;
    unary->operand = parse_unary(false);
    adopt(*unary, unary->operand);
    node = std::move(unary);
  } else {
    node = parse_primary();
  }
  node = parse_postfix(std::move(node));
  return with_filters ? parse_filters_and_tests(std::move(node)) : std::move(node);
}

bool ExpressionParser::at_tuple_end(const TupleOptions& options) const {
  return tokens_.is(TokenKind::kVariableEnd) || tokens_.is(TokenKind::kBlockEnd) ||
         tokens_.is_operator(")") ||
         (!options.end_word.empty() && tokens_.is_name(options.end_word));
}

ExpressionPtr ExpressionParser::parse_tuple(const TupleOptions& options) {
  const DepthGuard guard(*this);
  auto tuple = make<SequenceLiteral>(tokens_.current().line);
  tuple->kind = Kind::kTuple;
  bool is_tuple = false;
  while (true) {
    if (!tuple->items.empty()) tokens_.expect_operator(",");
    if (at_tuple_end(options)) break;
    tuple->items.push_back(options.with_conditional ? parse_expression() : parse_or());
    if (!tokens_.is_operator(",")) break;
    is_tuple = true;
  }
  if (!is_tuple) {
    if (!tuple->items.empty()) return std::move(tuple->items.front());
    if (!options.explicit_parentheses) {
      tokens_.fail(fmt::format("expected an expression, got {}", describe(tokens_.current())));
    }
  }
  for (const auto& item : tuple->items) adopt(*tuple, item);
  return tuple;
}

Target ExpressionParser::parse_target_item(bool with_namespace) {
  const DepthGuard guard(*this);
  if (tokens_.skip_operator("(")) {
    Target target = parse_target(true, with_namespace);
    tokens_.expect_operator(")");
    return target;
  }
  const Token& token = tokens_.expect(TokenKind::kName, "a name to assign to");
  static constexpr std::array<std::string_view, 6> kConstants = {"true",  "True", "false",
                                                                 "False", "none", "None"};
  if (std::find(kConstants.begin(), kConstants.end(), token.text) != kConstants.end()) {
    tokens_.fail("can't assign to 'const'", token.line);
  }
  Target target;
  target.symbol = symbol(token.text);
  if (with_namespace && tokens_.skip_operator(".")) {
    target.attribute = tokens_.expect(TokenKind::kName, "the name of an attribute").text;
  }
  return target;
}

Target ExpressionParser::parse_target(bool with_tuple, bool with_namespace) {
  Target first = parse_target_item(with_namespace);
  if (!with_tuple || !tokens_.is_operator(",")) return first;
  Target tuple;
  tuple.is_tuple = true;
  tuple.items.push_back(std::move(first));
  while (tokens_.skip_operator(",")) {
    if (!tokens_.is(TokenKind::kName) && !tokens_.is_operator("(")) break;
    if (tokens_.is_name("in")) break;
    tuple.items.push_back(parse_target_item(with_namespace));
  }
  return tuple;
}

}  // namespace tutti::text::jinja
