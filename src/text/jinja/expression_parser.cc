#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "text/jinja/functions.h"
#include "text/jinja/parser_internal.h"

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

const Token& TokenStream::next() {
  const Token& token = tokens_[position_];
  if (position_ + 1 < tokens_.size()) ++position_;
  return token;
}

bool TokenStream::is_operator(const Token& token, std::string_view text) {
  return token.kind == TokenKind::kOperator && token.text == text;
}

bool TokenStream::is_name(const Token& token, std::string_view text) {
  return token.kind == TokenKind::kName && token.text == text;
}

bool TokenStream::skip_operator(std::string_view text) {
  if (!is_operator(text)) return false;
  next();
  return true;
}

bool TokenStream::skip_name(std::string_view text) {
  if (!is_name(text)) return false;
  next();
  return true;
}

void TokenStream::expect_operator(std::string_view text) {
  if (!skip_operator(text)) {
    fail(fmt::format("expected '{}', got {}", text, describe(current())));
  }
}

void TokenStream::expect_name(std::string_view text) {
  if (!skip_name(text)) fail(fmt::format("expected '{}', got {}", text, describe(current())));
}

const Token& TokenStream::expect(TokenKind kind, const char* what) {
  if (!is(kind)) fail(fmt::format("expected {}, got {}", what, describe(current())));
  return next();
}

std::string describe(const Token& token) {
  switch (token.kind) {
    case TokenKind::kData:
      return "template data";
    case TokenKind::kVariableBegin:
      return "'{{'";
    case TokenKind::kVariableEnd:
      return "'}}'";
    case TokenKind::kBlockBegin:
      return "'{%'";
    case TokenKind::kBlockEnd:
      return "'%}'";
    case TokenKind::kEnd:
      return "the end of the template";
    case TokenKind::kString:
      return "a string";
    default:
      return "'" + token.text + "'";
  }
}

ExpressionParser::DepthGuard::DepthGuard(ExpressionParser& parser) : parser_(parser) {
  if (++parser_.depth_ > kMaxParserDepth) {
    --parser_.depth_;
    parser_.tokens_.fail("expressions are nested too deep");
  }
}

template <typename T>
std::unique_ptr<T> ExpressionParser::make(int line) const {
  auto node = std::make_unique<T>();
  node->line = line;
  return node;
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

ExpressionPtr ExpressionParser::parse_primary() {
  const Token& token = tokens_.current();
  if (token.kind == TokenKind::kName) return parse_name();
  if (token.kind == TokenKind::kString) return parse_string();
  if (token.kind == TokenKind::kInteger || token.kind == TokenKind::kReal) {
    auto node = make<Constant>(token.line);
    node->value = tokens_.next().number;
    return node;
  }
  if (tokens_.skip_operator("(")) {
    ExpressionPtr node = parse_tuple({.explicit_parentheses = true});
    tokens_.expect_operator(")");
    return node;
  }
  if (tokens_.is_operator("[")) return parse_list();
  if (tokens_.is_operator("{")) return parse_dict();
  tokens_.fail(fmt::format("unexpected {}", describe(token)));
}

ExpressionPtr ExpressionParser::parse_name() {
  const Token& token = tokens_.next();
  const std::string& name = token.text;
  if (name == "true" || name == "True" || name == "false" || name == "False" || name == "none" ||
      name == "None") {
    auto node = make<Constant>(token.line);
    const bool is_none = name == "none" || name == "None";
    node->value = is_none ? Value() : Value::boolean(name == "true" || name == "True");
    return node;
  }
  if (!open_macros.empty()) {
    MacroDefinition& macro = *open_macros.back();
    macro.uses_caller |= name == "caller";
    macro.uses_varargs |= name == "varargs";
    macro.uses_kwargs |= name == "kwargs";
  }
  auto node = make<Name>(token.line);
  node->symbol = symbol(name);
  node->name = name;
  node->global = find_global(name);
  return node;
}

ExpressionPtr ExpressionParser::parse_string() {
  auto node = make<Constant>(tokens_.current().line);
  std::string value;
  while (tokens_.is(TokenKind::kString)) value += tokens_.next().text;
  node->value = Value::string(Text::literal(std::move(value)));
  return node;
}

ExpressionPtr ExpressionParser::parse_list() {
  auto node = make<SequenceLiteral>(tokens_.next().line);
  while (!tokens_.is_operator("]")) {
    if (!node->items.empty()) tokens_.expect_operator(",");
    if (tokens_.is_operator("]")) break;
    node->items.push_back(parse_expression());
    adopt(*node, node->items.back());
  }
  tokens_.expect_operator("]");
  return node;
}

ExpressionPtr ExpressionParser::parse_dict() {
  auto node = make<DictLiteral>(tokens_.next().line);
  while (!tokens_.is_operator("}")) {
    if (!node->entries.empty()) tokens_.expect_operator(",");
    if (tokens_.is_operator("}")) break;
    ExpressionPtr key = parse_expression();
    tokens_.expect_operator(":");
    ExpressionPtr value = parse_expression();
    adopt(*node, key);
    adopt(*node, value);
    node->entries.emplace_back(std::move(key), std::move(value));
  }
  tokens_.expect_operator("}");
  return node;
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

ExpressionPtr ExpressionParser::parse_postfix(ExpressionPtr node) {
  while (true) {
    if (tokens_.is_operator(".") || tokens_.is_operator("[")) {
      node = parse_subscript(std::move(node));
    } else if (tokens_.is_operator("(")) {
      node = parse_call(std::move(node));
    } else {
      return node;
    }
  }
}

ExpressionPtr ExpressionParser::parse_filters_and_tests(ExpressionPtr node) {
  while (true) {
    if (tokens_.is_operator("|")) {
      const int line = tokens_.next().line;
      auto filter = make<FilterExpression>(line);
      filter->filter = parse_filter_call();
      filter->input = std::move(node);
      adopt(*filter, filter->input);
      adopt(*filter, filter->filter.arguments);
      node = std::move(filter);
    } else if (tokens_.is_name("is")) {
      node = parse_test(std::move(node));
    } else if (tokens_.is_operator("(")) {
      node = parse_call(std::move(node));
    } else {
      return node;
    }
  }
}

ExpressionPtr ExpressionParser::parse_subscript(ExpressionPtr node) {
  const Token& token = tokens_.next();
  const int line = token.line;
  if (token.text == "[") return parse_bracket_subscript(std::move(node), line);
  const Token& name = tokens_.next();
  if (name.kind == TokenKind::kName) {
    auto attribute = make<AttributeAccess>(line);
    attribute->object = std::move(node);
    attribute->name = Text::literal(name.text);
    adopt(*attribute, attribute->object);
    return attribute;
  }
  if (name.kind != TokenKind::kInteger) tokens_.fail("expected name or number", line);
  auto key = make<Constant>(line);
  key->value = name.number;
  auto item = make<ItemAccess>(line);
  item->object = std::move(node);
  item->key = std::move(key);
  adopt(*item, item->object);
  return item;
}

ExpressionPtr ExpressionParser::parse_bracket_subscript(ExpressionPtr node, int line) {
  std::vector<ExpressionPtr> keys;
  while (!tokens_.is_operator("]")) {
    if (!keys.empty()) tokens_.expect_operator(",");
    ExpressionPtr first;
    if (!tokens_.is_operator(":")) first = parse_expression();
    if (tokens_.is_operator(":")) {
      if (!keys.empty()) tokens_.fail("a slice cannot be part of a tuple");
      return parse_slice(std::move(node), std::move(first), line);
    }
    keys.push_back(std::move(first));
  }
  tokens_.expect_operator("]");
  auto item = make<ItemAccess>(line);
  item->object = std::move(node);
  if (keys.size() == 1) {
    item->key = std::move(keys.front());
  } else {
    auto tuple = make<SequenceLiteral>(line);
    tuple->kind = Kind::kTuple;
    tuple->items = std::move(keys);
    for (const auto& key : tuple->items) adopt(*tuple, key);
    item->key = std::move(tuple);
  }
  adopt(*item, item->object);
  adopt(*item, item->key);
  return item;
}

ExpressionPtr ExpressionParser::parse_slice(ExpressionPtr object, ExpressionPtr start, int line) {
  auto node = make<SliceAccess>(line);
  node->object = std::move(object);
  node->start = std::move(start);
  tokens_.expect_operator(":");
  if (!tokens_.is_operator(":") && !tokens_.is_operator("]")) node->stop = parse_expression();
  if (tokens_.skip_operator(":") && !tokens_.is_operator("]")) node->step = parse_expression();
  tokens_.expect_operator("]");
  adopt(*node, node->object);
  adopt(*node, node->start);
  adopt(*node, node->stop);
  adopt(*node, node->step);
  return node;
}

ExpressionPtr ExpressionParser::parse_call(ExpressionPtr callee) {
  auto node = make<CallExpression>(tokens_.current().line);
  node->arguments = parse_arguments();
  node->callee = std::move(callee);
  adopt(*node, node->callee);
  adopt(*node, node->arguments);
  return node;
}

ArgumentList ExpressionParser::parse_arguments() {
  const DepthGuard guard(*this);
  ArgumentList arguments;
  tokens_.expect_operator("(");
  bool require_comma = false;
  while (!tokens_.is_operator(")")) {
    if (require_comma) {
      tokens_.expect_operator(",");
      if (tokens_.is_operator(")")) break;
    }
    parse_argument(arguments);
    require_comma = true;
  }
  tokens_.expect_operator(")");
  return arguments;
}

void ExpressionParser::parse_argument(ArgumentList& arguments) {
  const auto ensure = [&](bool condition) {
    if (!condition) tokens_.fail("invalid syntax for function call expression");
  };
  if (tokens_.skip_operator("*")) {
    ensure(!arguments.starred && !arguments.double_starred);
    arguments.starred = parse_expression();
  } else if (tokens_.skip_operator("**")) {
    ensure(!arguments.double_starred);
    arguments.double_starred = parse_expression();
  } else if (tokens_.is(TokenKind::kName) && TokenStream::is_operator(tokens_.look(), "=")) {
    ensure(!arguments.double_starred);
    const std::string name = tokens_.next().text;
    tokens_.next();
    arguments.keyword.emplace_back(name, parse_expression());
  } else {
    ensure(!arguments.starred && !arguments.double_starred && arguments.keyword.empty());
    arguments.positional.push_back(parse_expression());
  }
}

FilterCall ExpressionParser::parse_filter_call() {
  FilterCall filter;
  filter.name = tokens_.expect(TokenKind::kName, "the name of a filter").text;
  while (tokens_.skip_operator(".")) {
    filter.name += "." + tokens_.expect(TokenKind::kName, "the name of a filter").text;
  }
  filter.function = find_filter(filter.name);
  if (tokens_.is_operator("(")) filter.arguments = parse_arguments();
  return filter;
}

std::vector<FilterCall> ExpressionParser::parse_filter_chain() {
  std::vector<FilterCall> filters;
  while (tokens_.skip_operator("|")) filters.push_back(parse_filter_call());
  return filters;
}

ExpressionPtr ExpressionParser::parse_test(ExpressionPtr input) {
  const DepthGuard guard(*this);
  auto node = make<TestExpression>(tokens_.next().line);
  const bool is_negated = tokens_.skip_name("not");
  node->name = tokens_.expect(TokenKind::kName, "the name of a test").text;
  while (tokens_.skip_operator(".")) {
    node->name += "." + tokens_.expect(TokenKind::kName, "the name of a test").text;
  }
  node->function = find_test(node->name);
  const Token& token = tokens_.current();
  const bool is_value = token.kind == TokenKind::kName || token.kind == TokenKind::kString ||
                        token.kind == TokenKind::kInteger || token.kind == TokenKind::kReal ||
                        tokens_.is_operator("[") || tokens_.is_operator("{");
  if (tokens_.is_operator("(")) {
    node->arguments = parse_arguments();
  } else if (is_value && !tokens_.is_name("else") && !tokens_.is_name("or") &&
             !tokens_.is_name("and")) {
    if (tokens_.is_name("is")) tokens_.fail("You cannot chain multiple tests with is");
    node->arguments.positional.push_back(parse_postfix(parse_primary()));
  }
  node->input = std::move(input);
  adopt(*node, node->input);
  adopt(*node, node->arguments);
  if (!is_negated) return node;
  auto negation = make<UnaryExpression>(node->line);
  negation->operand = std::move(node);
  adopt(*negation, negation->operand);
  return negation;
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
