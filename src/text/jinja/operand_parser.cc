// What stands between operators: names, literals, and what follows them: subscripts, calls,
// filters and tests.
#include <fmt/format.h>

#include "text/jinja/expression_parser.h"
#include "text/jinja/functions.h"

namespace tutti::text::jinja {

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

}  // namespace tutti::text::jinja
