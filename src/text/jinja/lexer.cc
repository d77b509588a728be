#include "text/jinja/lexer.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>

#include "text/jinja/unicode.h"

namespace tutti::text::jinja {
namespace {

struct SyntaxFailure {
  std::string message;
  int line;
};

// \r\n and \r become \n; one newline at the very end is dropped.
std::string normalise_newlines(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (std::size_t i = 0; i < source.size(); ++i) {
    if (source[i] != '\r') {
      out.push_back(source[i]);
      continue;
    }
    out.push_back('\n');
    if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
  }
  if (!out.empty() && out.back() == '\n') out.pop_back();
  return out;
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_name_start(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (c & 0x80) != 0;
}
bool is_name_part(char c) { return is_name_start(c) || is_digit(c); }

int digit_value(char c) {
  if (is_digit(c)) return c - '0';
  if (c >= 'a' && c <= 'z') return c - 'a' + 10;
  if (c >= 'A' && c <= 'Z') return c - 'A' + 10;
  return 99;
}

class Lexer {
 public:
  explicit Lexer(std::string source) : source_(std::move(source)) {}

  std::vector<Token> run() {
    while (position_ < source_.size()) lex_root();
    push(TokenKind::kEnd, "");
    return std::move(tokens_);
  }

 private:
  bool at(std::string_view text) const {
    return std::string_view(source_).substr(position_, text.size()) == text;
  }

  void push(TokenKind kind, std::string text) {
    tokens_.push_back(Token{kind, line_, std::move(text), Value()});
  }

  void push_data(std::string_view data) {
    if (!data.empty()) push(TokenKind::kData, std::string(data));
  }

  void advance(std::size_t end) {
    line_ += static_cast<int>(std::count(source_.begin() + static_cast<std::ptrdiff_t>(position_),
                                         source_.begin() + static_cast<std::ptrdiff_t>(end), '\n'));
    position_ = end;
  }

  std::size_t skip_space(std::size_t from) const {
    const std::string_view view = source_;
    return from + strip_range(view.substr(from), StripSide::kLeft).begin;
  }

  // Data before a tag, cut as the tag's sign ('-', '+' or none) and lstrip_blocks ask for.
  std::string_view strip_before_tag(std::string_view data, char sign, bool is_variable) const {
    if (sign == '-') return data.substr(0, strip_range(data, StripSide::kRight).end);
    if (sign == '+' || is_variable) return data;
    const std::size_t newline = data.rfind('\n');
    const std::size_t line_begin = newline == std::string_view::npos ? 0 : newline + 1;
    if (line_begin == 0 && !line_starting_) return data;
    const auto rest = strip_range(data.substr(line_begin), StripSide::kLeft);
    return rest.begin == data.size() - line_begin ? data.substr(0, line_begin) : data;
  }

  static char sign_at(std::string_view source, std::size_t position) {
    if (position >= source.size()) return 0;
    const char c = source[position];
    return c == '-' || c == '+' ? c : 0;
  }

  void lex_root() {
    const std::string_view source = source_;
    std::size_t tag = source.find('{', position_);
    while (tag != std::string_view::npos &&
           (tag + 1 >= source.size() ||
            std::string_view("{%#").find(source[tag + 1]) == std::string_view::npos)) {
      tag = source.find('{', tag + 1);
    }
    if (tag == std::string_view::npos) {
      push_data(source.substr(position_));
      advance(source.size());
      return;
    }
    const char opening = source[tag + 1];
    const char sign = sign_at(source, tag + 2);
    push_data(strip_before_tag(source.substr(position_, tag - position_), sign, opening == '{'));
    advance(tag);
    const std::size_t inside = tag + 2 + (sign != 0 ? 1 : 0);
    if (opening == '#') {
      lex_comment(inside);
    } else if (opening == '{') {
      lex_tag(inside, TokenKind::kVariableBegin);
    } else if (const auto raw = end_of_word_tag(inside, "raw", false)) {
      lex_raw(*raw);
    } else {
      lex_tag(inside, TokenKind::kBlockBegin);
    }
  }

  // Where a tag ends whose only word is `word`, the white space it swallows included; `from` is
  // behind the sign. nullopt for another tag.
  std::optional<std::size_t> end_of_word_tag(std::size_t from, std::string_view word,
                                             bool trims_newline) const {
    const std::string_view source = source_;
    std::size_t position = skip_space(from);
    if (source.substr(position, word.size()) != word) return std::nullopt;
    position = skip_space(position + word.size());
    if (source.substr(position, 3) == "-%}") return skip_space(position + 3);
    if (trims_newline && source.substr(position, 3) == "+%}") return position + 3;
    if (source.substr(position, 2) != "%}") return std::nullopt;
    position += 2;
    if (trims_newline && position < source.size() && source[position] == '\n') ++position;
    return position;
  }

  void set_line_starting() { line_starting_ = position_ > 0 && source_[position_ - 1] == '\n'; }

  void lex_raw(std::size_t begin) {
    advance(begin);
    set_line_starting();
    const std::string_view source = source_;
    for (std::size_t tag = source.find("{%", begin); tag != std::string_view::npos;
         tag = source.find("{%", tag + 2)) {
      const char sign = sign_at(source, tag + 2);
      const auto end = end_of_word_tag(tag + 2 + (sign != 0 ? 1 : 0), "endraw", true);
      if (!end) continue;
      push_data(strip_before_tag(source.substr(begin, tag - begin), sign, false));
      advance(*end);
      set_line_starting();
      return;
    }
    throw SyntaxFailure{"Missing end of raw directive", line_};
  }

  void lex_comment(std::size_t begin) {
    const std::size_t end = source_.find("#}", begin);
    if (end == std::string::npos) throw SyntaxFailure{"Missing end of comment tag", line_};
    const char sign = end > begin ? source_[end - 1] : 0;
    std::size_t next = end + 2;
    if (sign == '-') {
      next = skip_space(next);
    } else if (sign != '+' && next < source_.size() && source_[next] == '\n') {
      ++next;
    }
    advance(next);
    set_line_starting();
  }

  void lex_tag(std::size_t begin, TokenKind kind) {
    push(kind, "");
    advance(begin);
    brackets_.clear();
    while (true) {
      if (brackets_.empty() && lex_tag_end(kind)) break;
      if (position_ >= source_.size()) {
        throw SyntaxFailure{"unexpected end of template inside a tag", line_};
      }
      lex_expression_token();
    }
    set_line_starting();
  }

  bool lex_tag_end(TokenKind kind) {
    const bool is_block = kind == TokenKind::kBlockBegin;
    const std::string_view close = is_block ? "%}" : "}}";
    const char sign = sign_at(source_, position_);
    const bool has_sign = sign == '-' || (sign == '+' && is_block);
    std::size_t end = position_ + (has_sign ? 1 : 0);
    if (std::string_view(source_).substr(end, 2) != close) return false;
    push(is_block ? TokenKind::kBlockEnd : TokenKind::kVariableEnd, "");
    end += 2;
    if (sign == '-') {
      end = skip_space(end);
    } else if (is_block && sign != '+' && end < source_.size() && source_[end] == '\n') {
      ++end;
    }
    advance(end);
    return true;
  }

  void lex_expression_token() {
    const std::size_t behind_space = skip_space(position_);
    if (behind_space != position_) return advance(behind_space);
    const char c = source_[position_];
    if (is_digit(c)) return lex_number();
    if (is_name_start(c)) return lex_name();
    if (c == '\'' || c == '"') return lex_string(c);
    lex_operator();
  }

  void lex_name() {
    std::size_t end = position_;
    while (end < source_.size() && is_name_part(source_[end])) ++end;
    push(TokenKind::kName, source_.substr(position_, end - position_));
    advance(end);
  }

  // Digits of `base` from `from`, with single underscores between them (and before the first one
  // when `leading_underscore`); the position behind them, or `from` when there are none.
  std::size_t digits_end(std::size_t from, int base, bool leading_underscore) const {
    std::size_t end = from;
    while (end < source_.size()) {
      const bool may_skip = (end > from || leading_underscore) && source_[end] == '_';
      const std::size_t digit = may_skip ? end + 1 : end;
      if (digit >= source_.size() || digit_value(source_[digit]) >= base) break;
      end = digit + 1;
    }
    return end;
  }

  std::optional<std::size_t> real_end() const {
    if (position_ > 0 && source_[position_ - 1] == '.') return std::nullopt;
    std::size_t end = digits_end(position_, 10, false);
    bool is_real = false;
    if (end + 1 < source_.size() && source_[end] == '.' && is_digit(source_[end + 1])) {
      end = digits_end(end + 1, 10, false);
      is_real = true;
    }
    if (end < source_.size() && (source_[end] == 'e' || source_[end] == 'E')) {
      std::size_t digits = end + 1;
      if (digits < source_.size() && (source_[digits] == '+' || source_[digits] == '-')) ++digits;
      if (digits < source_.size() && is_digit(source_[digits])) {
        return digits_end(digits, 10, false);
      }
    }
    return is_real ? std::optional(end) : std::nullopt;
  }

  std::string without_underscores(std::size_t begin, std::size_t end) const {
    std::string text = source_.substr(begin, end - begin);
    std::erase(text, '_');
    return text;
  }

  void lex_number() {
    if (const auto end = real_end()) {
      const std::string text = without_underscores(position_, *end);
      double value = 0;
      const auto parsed = std::from_chars(text.data(), text.data() + text.size(), value);
      if (parsed.ec == std::errc::result_out_of_range) {
        value = text.find("e-") == std::string::npos && text.find("E-") == std::string::npos
                    ? std::numeric_limits<double>::infinity()
                    : 0.0;
      }
      push(TokenKind::kReal, text);
      tokens_.back().number = Value::real(value);
      return advance(*end);
    }
    lex_integer();
  }

  void lex_integer() {
    int base = 10;
    std::size_t begin = position_;
    if (source_[begin] == '0' && begin + 1 < source_.size()) {
      const char mark = static_cast<char>(source_[begin + 1] | 0x20);
      const int marked = mark == 'x' ? 16 : mark == 'o' ? 8 : mark == 'b' ? 2 : 10;
      if (marked != 10 && digits_end(begin + 2, marked, true) > begin + 2) {
        base = marked;
        begin += 2;
      }
    }
    const bool is_zero = base == 10 && source_[begin] == '0';
    const std::size_t end = digits_end(begin, is_zero ? 1 : base, base != 10);
    Integer value = 0;
    for (const char c : without_underscores(begin, end)) {
      if (__builtin_mul_overflow(value, static_cast<Integer>(base), &value) ||
          __builtin_add_overflow(value, static_cast<Integer>(digit_value(c)), &value)) {
        throw SyntaxFailure{"integer too large", line_};
      }
    }
    push(TokenKind::kInteger, source_.substr(position_, end - position_));
    tokens_.back().number = Value::integer(value);
    advance(end);
  }

  void lex_string(char quote) {
    std::size_t end = position_ + 1;
    while (end < source_.size() && source_[end] != quote) end += source_[end] == '\\' ? 2 : 1;
    if (end >= source_.size()) {
      throw SyntaxFailure{std::string("unexpected char '") + quote + "': the string has no end",
                          line_};
    }
    push(TokenKind::kString,
         unescape(std::string_view(source_).substr(position_ + 1, end - position_ - 1)));
    advance(end + 1);
  }

  // `count` hexadecimal digits of `text` at `from`.
  char32_t hexadecimal(std::string_view text, std::size_t from, std::size_t count) const {
    char32_t value = 0;
    for (std::size_t i = from; i < from + count; ++i) {
      if (i >= text.size() || digit_value(text[i]) >= 16) {
        throw SyntaxFailure{"truncated escape in a string", line_};
      }
      value = value * 16 + static_cast<char32_t>(digit_value(text[i]));
    }
    if (value > 0x10FFFF || (value >= 0xD800 && value <= 0xDFFF)) {
      throw SyntaxFailure{"illegal Unicode character in a string", line_};
    }
    return value;
  }

  // Python's unicode-escape.
  std::string unescape(std::string_view text) const {
    static constexpr std::string_view kLetters = "abfnrtv\\'\"";
    static constexpr std::string_view kValues = "\a\b\f\n\r\t\v\\'\"";
    std::string out;
    for (std::size_t i = 0; i < text.size();) {
      if (text[i] != '\\' || i + 1 >= text.size()) {
        out.push_back(text[i++]);
        continue;
      }
      const char c = text[i + 1];
      i += 2;
      const std::size_t letter = kLetters.find(c);
      if (letter != std::string_view::npos) {
        out.push_back(kValues[letter]);
      } else if (c == 'x' || c == 'u' || c == 'U') {
        const std::size_t count = c == 'x' ? 2 : c == 'u' ? 4 : 8;
        append_utf8(out, hexadecimal(text, i, count));
        i += count;
      } else if (c >= '0' && c <= '7') {
        char32_t value = static_cast<char32_t>(c - '0');
        for (int digits = 1; digits < 3 && i < text.size() && digit_value(text[i]) < 8; ++digits) {
          value = value * 8 + static_cast<char32_t>(text[i++] - '0');
        }
        append_utf8(out, value);
      } else if (c == 'N') {
        throw SyntaxFailure{"characters by name are not supported in a string", line_};
      } else if (c != '\n') {
        out.push_back('\\');
        out.push_back(c);
      }
    }
    return out;
  }

  void lex_operator() {
    static constexpr std::array<std::string_view, 26> kOperators = {
        "//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[",
        "]",  "(",  ")",  "{",  "}",  ">",  "<", "=", ".", ":", "|", ",", ";"};
    const auto* found = std::find_if(kOperators.begin(), kOperators.end(),
                                     [&](std::string_view text) { return at(text); });
    if (found == kOperators.end()) {
      const auto point = code_point_at(source_, position_);
      throw SyntaxFailure{"unexpected char '" + source_.substr(position_, point.length) + "'",
                          line_};
    }
    balance(found->front());
    push(TokenKind::kOperator, std::string(*found));
    advance(position_ + found->size());
  }

  void balance(char c) {
    if (c == '(' || c == '[' || c == '{') {
      brackets_.push_back(c == '(' ? ')' : c == '[' ? ']' : '}');
    } else if (c == ')' || c == ']' || c == '}') {
      if (brackets_.empty()) throw SyntaxFailure{std::string("unexpected '") + c + "'", line_};
      if (brackets_.back() != c) {
        throw SyntaxFailure{
            std::string("unexpected '") + c + "', expected '" + brackets_.back() + "'", line_};
      }
      brackets_.pop_back();
    }
  }

  const std::string source_;
  std::size_t position_ = 0;
  int line_ = 1;
  bool line_starting_ = true;  // the last token ended with a newline
  std::string brackets_;       // the closing brackets that are due
  std::vector<Token> tokens_;
};

}  // namespace

Result<std::vector<Token>> tokenize_template(std::string_view source) {
  try {
    return Lexer(normalise_newlines(source)).run();
  } catch (const SyntaxFailure& failure) {
    return invalid_argument(
        "", "template line " + std::to_string(failure.line) + ": " + failure.message);
  }
}

}  // namespace tutti::text::jinja
