// The parser of expressions; that of statements (parser.cc) stands on it.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "text/jinja/ast.h"
#include "text/jinja/token_stream.h"

namespace tutti::text::jinja {

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
  static std::unique_ptr<T> make(int line) {
    auto node = std::make_unique<T>();
    node->line = line;
    return node;
  }
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
