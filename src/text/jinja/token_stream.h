// A cursor over the tokens of a template, which the parser reads.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/jinja/lexer.h"

namespace tutti::text::jinja {

struct SyntaxError {
  std::string message;
  int line;
};

// Throws SyntaxError for a token that is not the expected one. Past the end the last token stays.
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

// The token as messages name it.
std::string describe(const Token& token);

}  // namespace tutti::text::jinja
