#include "text/jinja/token_stream.h"

#include <fmt/format.h>

namespace tutti::text::jinja {

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

}  // namespace tutti::text::jinja
