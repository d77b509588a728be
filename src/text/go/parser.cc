#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "text/go/ast.h"
#include "text/jinja/unicode.h"

namespace tutti::text::go {
namespace {

constexpr int kMaxDepth = 60;

struct SyntaxError {
  std::string message;
  int line;
};

bool is_space(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }
bool is_word(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
         (c & 0x80) != 0;
}

std::string_view trim_right(std::string_view text) {
  while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
  return text;
}

class Parser {
 public:
  explicit Parser(std::string_view source) : source_(source) {}

  std::shared_ptr<Program> run() {
    program_ = std::make_shared<Program>();
    program_->root = parse_list();
    if (!keyword_.empty()) fail(fmt::format("unexpected {{{{{}}}}}", keyword_));
    return std::move(program_);
  }

 private:
  [[noreturn]] void fail(const std::string& message) const { throw SyntaxError{message, line()}; }

  int line() const {
    return 1 +
           static_cast<int>(std::count(
               source_.begin(), source_.begin() + static_cast<std::ptrdiff_t>(position_), '\n'));
  }

  bool at(std::string_view text) const { return source_.substr(position_, text.size()) == text; }

  void skip_space() {
    while (position_ < source_.size() && is_space(source_[position_])) ++position_;
  }

  bool skip(std::string_view text) {
    if (!at(text)) return false;
    position_ += text.size();
    return true;
  }

  // --- outside of actions ---

  // Nodes up to {{end}} or {{else}}, whose keyword is left in keyword_ ("" at the end of the
  // source).
  std::vector<Node> parse_list() {
    if (++depth_ > kMaxDepth) fail("blocks are nested too deep");
    std::vector<Node> nodes;
    keyword_.clear();
    while (position_ < source_.size()) {
      const std::size_t open = std::min(source_.find("{{", position_), source_.size());
      std::string_view text = source_.substr(position_, open - position_);
      const bool trims = source_.substr(open, 3) == "{{-" && open + 3 < source_.size() &&
                         is_space(source_[open + 3]);
      add_text(nodes, trims ? trim_right(text) : text);
      position_ = open;
      if (open == source_.size()) break;
      position_ += trims ? 3 : 2;
      if (parse_action(nodes)) break;
    }
    --depth_;
    return nodes;
  }

  static void add_text(std::vector<Node>& nodes, std::string_view text) {
    if (text.empty()) return;
    Node node;
    node.text = jinja::Text::literal(std::string(text));
    nodes.push_back(std::move(node));
  }

  void close_action() {
    skip_space();
    const bool trims = at("-}}") && position_ > 0 && is_space(source_[position_ - 1]);
    if (trims) ++position_;
    if (!skip("}}")) fail("expected '}}'");
    if (trims) skip_space();
  }

  bool skip_comment() {
    if (!at("/*")) return false;
    const std::size_t end = source_.find("*/", position_);
    if (end == std::string_view::npos) fail("the comment has no end");
    position_ = end + 2;
    close_action();
    return true;
  }

  // One action; true when it ends the list.
  bool parse_action(std::vector<Node>& nodes) {
    skip_space();
    if (skip_comment()) return false;
    const std::size_t begin = position_;
    const std::string word = read_word();
    if (word == "end" || word == "else") {
      if (word == "end") close_action();
      keyword_ = word;
      return true;
    }
    Node node;
    if (word == "if" || word == "with" || word == "range") {
      node.kind = word == "if"     ? NodeKind::kIf
                  : word == "with" ? NodeKind::kWith
                                   : NodeKind::kRange;
      parse_block(node);
    } else if (word == "define" || word == "block") {
      return parse_define(nodes, word == "block");
    } else if (word == "template") {
      node.kind = NodeKind::kTemplate;
      node.text = jinja::Text::literal(parse_name());
      skip_space();
      if (!at("}}") && !at("-}}")) node.pipeline = parse_pipeline();
      close_action();
    } else if (word == "break" || word == "continue") {
      node.kind = word == "break" ? NodeKind::kBreak : NodeKind::kContinue;
      close_action();
    } else {
      position_ = begin;
      node.kind = NodeKind::kPrint;
      node.pipeline = parse_pipeline();
      close_action();
    }
    nodes.push_back(std::move(node));
    return false;
  }

  // Behind "if", "with" or "range": the pipeline, the body and what follows {{else}}.
  void parse_block(Node& node) {
    node.pipeline = parse_pipeline();
    close_action();
    node.body = parse_list();
    if (keyword_ == "else") {
      skip_space();
      const std::size_t begin = position_;
      const std::string word = read_word();
      if (word == "if" || word == "with") {
        if (++depth_ > kMaxDepth) fail("blocks are nested too deep");
        Node nested;
        nested.kind = word == "if" ? NodeKind::kIf : NodeKind::kWith;
        parse_block(nested);
        node.otherwise.push_back(std::move(nested));
        --depth_;
        return;
      }
      position_ = begin;
      close_action();
      node.otherwise = parse_list();
    }
    if (keyword_ != "end") fail("a block has no {{end}}");
    keyword_.clear();
  }

  bool parse_define(std::vector<Node>& nodes, bool is_block) {
    const std::string name = parse_name();
    Node node;
    if (is_block) {
      node.kind = NodeKind::kTemplate;
      node.text = jinja::Text::literal(name);
      node.pipeline = parse_pipeline();
    }
    close_action();
    program_->templates[name] = parse_list();
    if (keyword_ != "end") fail("a block has no {{end}}");
    keyword_.clear();
    if (is_block) nodes.push_back(std::move(node));
    return false;
  }

  std::string parse_name() {
    skip_space();
    if (!at("\"") && !at("`")) fail("expected the name of a template");
    return parse_string();
  }

  // --- inside of actions ---

  std::string read_word() {
    const std::size_t begin = position_;
    while (position_ < source_.size() && is_word(source_[position_])) ++position_;
    return std::string(source_.substr(begin, position_ - begin));
  }

  Pipeline parse_pipeline() {
    if (++depth_ > kMaxDepth) fail("expressions are nested too deep");
    Pipeline pipeline;
    pipeline.line = line();
    parse_declaration(pipeline);
    do {
      Command command;
      skip_space();
      while (!at_command_end()) {
        command.push_back(parse_operand());
        skip_space();
      }
      if (command.empty()) fail("missing value");
      pipeline.commands.push_back(std::move(command));
    } while (skip("|"));
    --depth_;
    return pipeline;
  }

  bool at_command_end() const {
    return position_ >= source_.size() || at("}}") || at("|") || at(")") ||
           (at("-}}") && is_space(source_[position_ - 1]));
  }

  // "$a, $b :=" or "$a =", if there.
  void parse_declaration(Pipeline& pipeline) {
    const std::size_t begin = position_;
    std::vector<std::string> names;
    do {
      skip_space();
      if (!at("$")) break;
      ++position_;
      names.push_back(fmt::format("${}", read_word()));
      skip_space();
    } while (skip(","));
    const bool declares = !names.empty() && names.size() <= 2 && skip(":=");
    pipeline.is_assignment = !declares && names.size() == 1 && !at("==") && skip("=");
    if (declares || pipeline.is_assignment) {
      pipeline.variables = std::move(names);
    } else {
      position_ = begin;
    }
  }

  Operand parse_operand() {
    Operand operand;
    const char c = source_[position_];
    if (c == '(') {
      ++position_;
      operand.kind = OperandKind::kParentheses;
      operand.inner = std::make_shared<const Pipeline>(parse_pipeline());
      skip_space();
      if (!skip(")")) fail("expected ')'");
    } else if (c == '"' || c == '`') {
      operand.kind = OperandKind::kConstant;
      operand.constant = jinja::Value::string(jinja::Text::literal(parse_string()));
    } else if (c == '.') {
      if (position_ + 1 >= source_.size() || !is_word(source_[position_ + 1])) ++position_;
    } else if (c == '$') {
      ++position_;
      operand.kind = OperandKind::kVariable;
      operand.name = fmt::format("${}", read_word());
    } else if ((c >= '0' && c <= '9') || c == '-' || c == '+') {
      parse_number(operand);
    } else {
      parse_function_name(operand);
    }
    while (at(".") && position_ + 1 < source_.size() && is_word(source_[position_ + 1])) {
      ++position_;
      operand.fields.push_back(read_word());
      program_->fields.insert(operand.fields.back());
    }
    return operand;
  }

  void parse_function_name(Operand& operand) {
    const std::string word = read_word();
    if (word.empty()) fail(fmt::format("unexpected '{}'", source_.substr(position_, 1)));
    operand.kind = OperandKind::kConstant;
    if (word == "true" || word == "false") {
      operand.constant = jinja::Value::boolean(word == "true");
    } else if (word != "nil") {
      operand.kind = OperandKind::kFunction;
      operand.name = word;
    }
  }

  void parse_number(Operand& operand) {
    operand.kind = OperandKind::kConstant;
    std::size_t end = position_ + 1;
    while (end < source_.size() && (is_word(source_[end]) || source_[end] == '.')) ++end;
    std::string_view text = source_.substr(position_, end - position_);
    if (text.starts_with('+')) text.remove_prefix(1);
    std::int64_t integer = 0;
    double real = 0;
    const char* last = text.data() + text.size();
    if (std::from_chars(text.data(), last, integer).ptr == last) {
      operand.constant = jinja::Value::integer(integer);
    } else if (std::from_chars(text.data(), last, real).ptr == last) {
      operand.constant = jinja::Value::real(real);
    } else {
      fail(fmt::format("bad number '{}'", text));
    }
    position_ = end;
  }

  std::string parse_string() {
    const char quote = source_[position_++];
    std::string out;
    while (position_ < source_.size() && source_[position_] != quote) {
      char c = source_[position_++];
      if (c == '\\' && quote == '"' && position_ < source_.size()) {
        static constexpr std::string_view kLetters = "abfnrtv\\\"'";
        static constexpr std::string_view kValues = "\a\b\f\n\r\t\v\\\"'";
        const std::size_t letter = kLetters.find(source_[position_++]);
        if (letter == std::string_view::npos) {
          --position_;
          append_code_escape(out);
          continue;
        }
        c = kValues[letter];
      }
      out.push_back(c);
    }
    if (position_ >= source_.size()) fail("the string has no end");
    ++position_;
    return out;
  }

  // \xHH, \uHHHH, \UHHHHHHHH
  void append_code_escape(std::string& out) {
    const char kind = source_[position_++];
    const std::size_t count = kind == 'x' ? 2 : kind == 'u' ? 4 : kind == 'U' ? 8 : 0;
    const std::string_view digits = source_.substr(position_, count);
    unsigned value = 0;
    const auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), value, 16);
    if (count == 0 || digits.size() != count || parsed.ptr != digits.data() + count ||
        value > 0x10FFFF || (value >= 0xD800 && value < 0xE000)) {
      fail("unknown escape in a string");
    }
    position_ += count;
    if (kind == 'x') {
      out.push_back(static_cast<char>(value));
    } else {
      jinja::append_utf8(out, value);
    }
  }

  std::string_view source_;
  std::size_t position_ = 0;
  std::string keyword_;
  int depth_ = 0;
  std::shared_ptr<Program> program_;
};

}  // namespace

Result<std::shared_ptr<const Program>> parse_program(std::string_view source) {
  try {
    return std::shared_ptr<const Program>(Parser(source).run());
  } catch (const SyntaxError& error) {
    return invalid_argument("template",
                            fmt::format("template line {}: {}", error.line, error.message));
  }
}

}  // namespace tutti::text::go
