#include "text/jinja/parser.h"

#include <fmt/format.h>

#include <initializer_list>
#include <utility>

#include "text/jinja/expression_parser.h"

namespace tutti::text::jinja {
namespace {

constexpr int kMaxBlockDepth = 60;

using EndTags = std::initializer_list<std::string_view>;

class StatementParser {
 public:
  StatementParser(std::vector<Token> tokens, std::vector<std::string>& names)
      : tokens_(std::move(tokens)), expressions_(tokens_, names) {}

  Body parse() { return parse_body({}); }

 private:
  template <typename T>
  std::unique_ptr<T> make(int line) const {
    auto node = std::make_unique<T>();
    node->line = line;
    return node;
  }

  // Statements up to a tag of `end_tags`, whose name is then the current token; up to the end of
  // the template when there are none.
  Body parse_body(EndTags end_tags) {
    Body body;
    while (true) {
      const Token& token = tokens_.current();
      switch (token.kind) {
        case TokenKind::kData: {
          auto data = make<DataStatement>(token.line);
          data->data = Text::literal(tokens_.next().text);
          body.push_back(std::move(data));
          break;
        }
        case TokenKind::kVariableBegin: {
          tokens_.next();
          auto print = make<PrintStatement>(token.line);
          print->value = expressions_.parse_tuple({});
          tokens_.expect(TokenKind::kVariableEnd, "'}}'");
          body.push_back(std::move(print));
          break;
        }
        case TokenKind::kBlockBegin:
          tokens_.next();
          if (at_end_tag(end_tags)) return body;
          parse_statement(body);
          tokens_.expect(TokenKind::kBlockEnd, "'%}'");
          break;
        default:
          if (end_tags.size() > 0) fail_unclosed(end_tags);
          return body;
      }
    }
  }

  bool at_end_tag(EndTags end_tags) const {
    for (const auto tag : end_tags) {
      if (tokens_.is_name(tag)) return true;
    }
    return false;
  }

  [[noreturn]] void fail_unclosed(EndTags end_tags) const {
    std::string wanted;
    for (const auto tag : end_tags)
      wanted += (wanted.empty() ? "'" : " or '") + std::string(tag) + "'";
    tokens_.fail(fmt::format(
        "Unexpected end of template. Jinja was looking for the following tags: {}", wanted));
  }

  // The body of a tag, from the end of the tag to the name of an end tag.
  Body parse_tag_body(EndTags end_tags) {
    if (++depth_ > kMaxBlockDepth) tokens_.fail("blocks are nested too deep");
    tokens_.skip_operator(":");
    tokens_.expect(TokenKind::kBlockEnd, "'%}'");
    Body body = parse_body(end_tags);
    --depth_;
    return body;
  }
  Body parse_whole_body(std::string_view end_tag) {
    Body body = parse_tag_body({end_tag});
    tokens_.next();
    return body;
  }

  void parse_statement(Body& body) {
    const Token& token = tokens_.expect(TokenKind::kName, "the name of a tag");
    const std::string& tag = token.text;
    const int line = token.line;
    if (tag == "if") return body.push_back(parse_if(line));
    if (tag == "for") return body.push_back(parse_for(line));
    if (tag == "set") return body.push_back(parse_set(line));
    if (tag == "macro") return body.push_back(parse_macro(line));
    if (tag == "call") return body.push_back(parse_call_block(line));
    if (tag == "filter") return body.push_back(parse_filter_block(line));
    if (tag == "with") return body.push_back(parse_with(line));
    if (tag == "print") return parse_print(body, line);
    if (tag == "do") return body.push_back(parse_do(line));
    if (tag == "break" || tag == "continue") return body.push_back(parse_loop_control(tag, line));
    if (tag == "generation") return body.push_back(parse_scope("endgeneration", line));
    if (tag == "autoescape") {
      expressions_.parse_expression();
      return body.push_back(parse_scope("endautoescape", line));
    }
    if (tag == "block") return body.push_back(parse_block(line));
    if (tag == "include" || tag == "import" || tag == "from" || tag == "extends") {
      return body.push_back(parse_unavailable(tag, line));
    }
    tokens_.fail("Encountered unknown tag '" + tag + "'.", line);
  }

  std::unique_ptr<Statement> parse_if(int line) {
    auto node = make<IfStatement>(line);
    while (true) {
      ExpressionPtr condition = expressions_.parse_tuple({.with_conditional = false});
      Body body = parse_tag_body({"elif", "else", "endif"});
      node->branches.emplace_back(std::move(condition), std::move(body));
      const std::string& end = tokens_.next().text;
      if (end == "elif") continue;
      if (end == "else") node->otherwise = parse_whole_body("endif");
      return node;
    }
  }

  std::unique_ptr<Statement> parse_for(int line) {
    auto node = make<ForStatement>(line);
    node->target = expressions_.parse_target(true, false);
    tokens_.expect_name("in");
    node->iterable = expressions_.parse_tuple({.with_conditional = false, .end_word = "recursive"});
    if (tokens_.skip_name("if")) node->condition = expressions_.parse_expression();
    node->is_recursive = tokens_.skip_name("recursive");
    node->loop_symbol = expressions_.symbol("loop");
    ++loop_depth_;
    node->body = parse_tag_body({"endfor", "else"});
    --loop_depth_;
    if (tokens_.next().text == "else") node->otherwise = parse_whole_body("endfor");
    return node;
  }

  std::unique_ptr<Statement> parse_set(int line) {
    Target target = expressions_.parse_target(true, true);
    if (tokens_.skip_operator("=")) {
      auto node = make<SetStatement>(line);
      node->target = std::move(target);
      node->value = expressions_.parse_tuple({});
      return node;
    }
    auto node = make<SetBlockStatement>(line);
    node->target = std::move(target);
    node->filters = expressions_.parse_filter_chain();
    node->body = parse_whole_body("endset");
    return node;
  }

  void parse_signature(MacroDefinition& macro) {
    macro.caller_symbol = expressions_.symbol("caller");
    macro.varargs_symbol = expressions_.symbol("varargs");
    macro.kwargs_symbol = expressions_.symbol("kwargs");
    if (!tokens_.skip_operator("(")) return;
    while (!tokens_.is_operator(")")) {
      if (!macro.parameters.empty()) tokens_.expect_operator(",");
      if (tokens_.is_operator(")")) break;
      Parameter parameter;
      parameter.name = tokens_.expect(TokenKind::kName, "the name of a parameter").text;
      parameter.symbol = expressions_.symbol(parameter.name);
      if (tokens_.skip_operator("=")) {
        parameter.default_value = expressions_.parse_expression();
      } else if (!macro.parameters.empty() && macro.parameters.back().default_value) {
        tokens_.fail("non-default argument follows default argument");
      }
      macro.parameters.push_back(std::move(parameter));
    }
    tokens_.expect_operator(")");
  }

  void parse_macro_body(MacroDefinition& macro, std::string_view end_tag) {
    const int outer_loops = std::exchange(loop_depth_, 0);
    expressions_.open_macros.push_back(&macro);
    macro.body = parse_whole_body(end_tag);
    expressions_.open_macros.pop_back();
    loop_depth_ = outer_loops;
  }

  std::unique_ptr<Statement> parse_macro(int line) {
    auto node = make<MacroStatement>(line);
    node->macro.name = tokens_.expect(TokenKind::kName, "the name of a macro").text;
    node->symbol = expressions_.symbol(node->macro.name);
    if (!tokens_.is_operator("(")) tokens_.expect_operator("(");
    parse_signature(node->macro);
    parse_macro_body(node->macro, "endmacro");
    return node;
  }

  std::unique_ptr<Statement> parse_call_block(int line) {
    auto node = make<CallBlockStatement>(line);
    node->caller.name = "caller";
    parse_signature(node->caller);
    ExpressionPtr call = expressions_.parse_expression();
    if (dynamic_cast<CallExpression*>(call.get()) == nullptr) tokens_.fail("expected call", line);
    node->call.reset(static_cast<CallExpression*>(call.release()));
    parse_macro_body(node->caller, "endcall");
    return node;
  }

  std::unique_ptr<Statement> parse_filter_block(int line) {
    auto node = make<FilterBlockStatement>(line);
    node->filters.push_back(expressions_.parse_filter_call());
    for (auto& filter : expressions_.parse_filter_chain()) {
      node->filters.push_back(std::move(filter));
    }
    node->body = parse_whole_body("endfilter");
    return node;
  }

  std::unique_ptr<Statement> parse_with(int line) {
    auto node = make<ScopeStatement>(line);
    while (!tokens_.is(TokenKind::kBlockEnd)) {
      if (!node->variables.empty()) tokens_.expect_operator(",");
      Target target = expressions_.parse_target(false, false);
      tokens_.expect_operator("=");
      node->variables.emplace_back(std::move(target), expressions_.parse_expression());
    }
    node->body = parse_whole_body("endwith");
    return node;
  }

  void parse_print(Body& body, int line) {
    while (!tokens_.is(TokenKind::kBlockEnd)) {
      auto node = make<PrintStatement>(line);
      node->value = expressions_.parse_expression();
      body.push_back(std::move(node));
      if (!tokens_.skip_operator(",")) break;
    }
  }

  std::unique_ptr<Statement> parse_do(int line) {
    auto node = make<ExpressionStatement>(line);
    node->value = expressions_.parse_tuple({});
    return node;
  }

  std::unique_ptr<Statement> parse_loop_control(const std::string& tag, int line) {
    if (loop_depth_ == 0) tokens_.fail("'" + tag + "' outside of a loop", line);
    auto node = make<LoopControlStatement>(line);
    node->flow = tag == "break" ? Flow::kBreak : Flow::kContinue;
    return node;
  }

  std::unique_ptr<Statement> parse_scope(std::string_view end_tag, int line) {
    auto node = make<ScopeStatement>(line);
    node->body = parse_whole_body(end_tag);
    return node;
  }

  std::unique_ptr<Statement> parse_block(int line) {
    const std::string name = tokens_.expect(TokenKind::kName, "the name of a block").text;
    tokens_.skip_name("scoped");
    tokens_.skip_name("required");
    auto node = parse_scope("endblock", line);
    tokens_.skip_name(name);
    return node;
  }

  std::unique_ptr<Statement> parse_unavailable(const std::string& tag, int line) {
    auto node = make<UnavailableStatement>(line);
    node->tag = tag;
    while (!tokens_.is(TokenKind::kBlockEnd)) tokens_.next();
    return node;
  }

  TokenStream tokens_;
  ExpressionParser expressions_;
  int depth_ = 0;
  int loop_depth_ = 0;
};

}  // namespace

Result<std::shared_ptr<const Program>> parse_program(std::string_view source) {
  TUTTI_ASSIGN_OR_RETURN(auto tokens, tokenize_template(source));
  auto program = std::make_shared<Program>();
  try {
    program->body = StatementParser(std::move(tokens), program->names).parse();
  } catch (const SyntaxError& error) {
    return invalid_argument("",
                            "template line " + std::to_string(error.line) + ": " + error.message);
  }
  return std::shared_ptr<const Program>(std::move(program));
}

}  // namespace tutti::text::jinja
