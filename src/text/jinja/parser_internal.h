// The two halves of the parser: expressions, and statements on top of them.
#pragma once

#include <fmt/format.h>
#include <algorithm>

#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "text/jinja/ast.h"
#include "text/jinja/lexer.h"

namespace tutti::text::jinja {

struct SyntaxError {
  std::string message;
  int line;
};

// A cursor over the tokens.
class TokenStream {
 public:
  explicit TokenStream(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

  const Token& current() const { return tokens_[position_]; }
  const Token& look() const { return tokens_[std::min(position_ + 1, tokens_.size() - 1)]; }
  const Token& next();
  bool is(TokenKind kind) const { return current().kind == kind; }
  bool is_operator(std::string_view text) const { return is_operator(current(), text); }
  bool is_name(std::string_view text) const { return is_name(current(), text); }
  static bool is_operator(const Token& token, std::string_view text);
  static bool is_name(const Token& token, std::string_view text);
  bool skip_operator(std::string_view text);
  bool skip_name(std::string_view text);
  void expect_operator(std::string_view text);
  void expect_name(std::string_view text);
  const Token& expect(TokenKind kind, const char* what);
  [[noreturn]] void fail(const std::string& message) const { fail(message, current().line); }
  [[noreturn]] void fail(const std::string& message, int line) const {
    throw SyntaxError{message, line};
  }

 private:
  std::vector<Token> tokens_;
  std::size_t position_ = 0;
};

std::string describe(const Token& token);

class ExpressionParser {
 public:
  ExpressionParser(TokenStream& tokens, std::vector<std::string>& names)
      : tokens_(tokens), names_(names) {}

  struct TupleOptions {
    bool with_conditional = true;
    bool explicit_parentheses = false;
    std::string_view end_word = {};  // a name that ends the tuple, e.g. "in"
  };
  ExpressionPtr parse_expression();
  ExpressionPtr parse_tuple(const TupleOptions& options);
  std::vector<FilterCall> parse_filter_chain();  // at "|" or at anything else
  FilterCall parse_filter_call();                // at the filter's name
  Target parse_target(bool with_tuple, bool with_namespace);
  Symbol symbol(const std::string& name);

  // The macros being parsed, innermost last: reading caller, varargs or kwargs marks them.
  std::vector<MacroDefinition*> open_macros;

 private:
  // Bounds the parser's own recursion.
  class DepthGuard {
   public:
    explicit DepthGuard(ExpressionParser& parser);
    ~DepthGuard() { --parser_.depth_; }

   private:
    ExpressionParser& parser_;
  };

  template <typename T>
  std::unique_ptr<T> make(int line) const;
  // Adds a child to a node, keeping its height.
  void adopt(Expression& parent, const ExpressionPtr& child) const;
  void adopt(Expression& parent, const ArgumentList& arguments) const;

  ExpressionPtr parse_conditional();
  ExpressionPtr parse_or();
  ExpressionPtr parse_and();
  ExpressionPtr parse_not();
  ExpressionPtr parse_comparison();
  ExpressionPtr parse_sum();
  ExpressionPtr parse_concatenation();
  ExpressionPtr parse_product();
  ExpressionPtr parse_power();
  ExpressionPtr parse_unary(bool with_filters);
  ExpressionPtr parse_primary();
  ExpressionPtr parse_name();
  ExpressionPtr parse_string();
  ExpressionPtr parse_list();
  ExpressionPtr parse_dict();
  ExpressionPtr parse_postfix(ExpressionPtr node);
  ExpressionPtr parse_filters_and_tests(ExpressionPtr node);
  ExpressionPtr parse_subscript(ExpressionPtr node);
  ExpressionPtr parse_bracket_subscript(ExpressionPtr node, int line);
  ExpressionPtr parse_slice(ExpressionPtr object, ExpressionPtr start, int line);
  ExpressionPtr parse_call(ExpressionPtr callee);
  ExpressionPtr parse_test(ExpressionPtr input);
  ArgumentList parse_arguments();
  void parse_argument(ArgumentList& arguments);
  bool at_tuple_end(const TupleOptions& options) const;
  ExpressionPtr binary(BinaryOperator operation, ExpressionPtr left, ExpressionPtr right, int line);
  ExpressionPtr logical(bool is_and, ExpressionPtr left, ExpressionPtr right, int line);
  Target parse_target_item(bool with_namespace);

  TokenStream& tokens_;
  std::vector<std::string>& names_;
  std::unordered_map<std::string, Symbol> symbols_;
  int depth_ = 0;
};

}  // namespace tutti::text::jinja
