// From Oniguruma's Ruby syntax to PCRE2's (option UCP and UTF).
//
// What differs: \s (PCRE2 adds U+180E), \w (PCRE2 knows letters, numbers and "_" only), \h (a
// hexadecimal digit in Ruby), \p{Script} (script extensions in PCRE2), \uHHHH, and in classes
// nested brackets and "&&". Classes that use the latter become look-aheads.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <string>
#include <vector>

#include "text/regex.h"

namespace tutti::text {
namespace {

constexpr int kMaxClassDepth = 16;
constexpr std::string_view kWordClass = "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}";

struct PropertyName {
  std::string_view oniguruma;  // lower case, no '_', ' ' or '-'
  std::string_view pcre2;
};
// Names that PCRE2 lacks, or reads otherwise. Long names of general categories first.
constexpr std::array kProperties = {
    PropertyName{"letter", "L"},
    PropertyName{"uppercaseletter", "Lu"},
    PropertyName{"lowercaseletter", "Ll"},
    PropertyName{"titlecaseletter", "Lt"},
    PropertyName{"modifierletter", "Lm"},
    PropertyName{"otherletter", "Lo"},
    PropertyName{"mark", "M"},
    PropertyName{"nonspacingmark", "Mn"},
    PropertyName{"spacingmark", "Mc"},
    PropertyName{"enclosingmark", "Me"},
    PropertyName{"number", "N"},
    PropertyName{"decimalnumber", "Nd"},
    PropertyName{"letternumber", "Nl"},
    PropertyName{"othernumber", "No"},
    PropertyName{"punctuation", "P"},
    PropertyName{"symbol", "S"},
    PropertyName{"mathsymbol", "Sm"},
    PropertyName{"currencysymbol", "Sc"},
    PropertyName{"modifiersymbol", "Sk"},
    PropertyName{"othersymbol", "So"},
    PropertyName{"separator", "Z"},
    PropertyName{"other", "C"},
    PropertyName{"control", "Cc"},
    PropertyName{"format", "Cf"},
    PropertyName{"alpha", "Alphabetic"},
    PropertyName{"alphabetic", "Alphabetic"},
    PropertyName{"digit", "Nd"},
    PropertyName{"space", "White_Space"},
    PropertyName{"whitespace", "White_Space"},
    PropertyName{"upper", "Uppercase"},
    PropertyName{"uppercase", "Uppercase"},
    PropertyName{"lower", "Lowercase"},
    PropertyName{"lowercase", "Lowercase"},
    PropertyName{"cntrl", "Cc"},
    PropertyName{"any", "Any"},
    PropertyName{"emoji", "Emoji"},
    PropertyName{"emojipresentation", "Emoji_Presentation"},
    PropertyName{"emojimodifier", "Emoji_Modifier"},
    PropertyName{"emojimodifierbase", "Emoji_Modifier_Base"},
    PropertyName{"extendedpictographic", "Extended_Pictographic"},
    PropertyName{"ideographic", "Ideographic"},
    PropertyName{"math", "Math"},
    PropertyName{"xidstart", "XID_Start"},
    PropertyName{"xidcontinue", "XID_Continue"},
    PropertyName{"idstart", "ID_Start"},
    PropertyName{"idcontinue", "ID_Continue"},
};

class Translator {
 public:
  explicit Translator(std::string_view pattern) : pattern_(pattern) {}

  Result<std::string> translate() {
    std::string out;
    while (position_ < pattern_.size()) {
      if (peek() == '\\') {
        TUTTI_ASSIGN_OR_RETURN(const std::string escape, translate_escape(false));
        out += escape;
      } else if (peek() == '[') {
        TUTTI_ASSIGN_OR_RETURN(const std::string set, translate_class(0));
        out += set;
      } else {
        out.push_back(take());
      }
    }
    return out;
  }

 private:
  char peek(std::size_t ahead = 0) const {
    return position_ + ahead < pattern_.size() ? pattern_[position_ + ahead] : '\0';
  }
  char take() { return pattern_[position_++]; }

  Status fail(std::string_view why) const {
    return invalid_argument("pattern",
                            fmt::format("pattern {:?}, byte {}: {}", pattern_, position_, why));
  }

  // \p{…} or \P{…}; position_ is at the letter.
  Result<std::string> translate_property() {
    bool negated = take() == 'P';
    if (peek() != '{') {
      const std::string letter(1, peek());
      if (!letter.empty() && position_ < pattern_.size()) ++position_;
      return fmt::format("\\{}{}", negated ? 'P' : 'p', letter);
    }
    const std::size_t close = pattern_.find('}', position_);
    if (close == std::string_view::npos) return fail("\\p{ without }");
    std::string name(pattern_.substr(position_ + 1, close - position_ - 1));
    position_ = close + 1;
    if (name.starts_with('^')) {
      negated = !negated;
      name.erase(0, 1);
    }
    std::string key;
    for (const char c : name) {
      if (c != '_' && c != ' ' && c != '-') {
        key.push_back(static_cast<char>(std::tolower(static_cast<unsigned char>(c))));
      }
    }
    const auto* known = std::find_if(kProperties.begin(), kProperties.end(),
                                     [&](const PropertyName& p) { return p.oniguruma == key; });
    if (known != kProperties.end()) {
      name = known->pcre2;
    } else if (name.size() > 2) {
      name = "sc:" + name;
    }
    return fmt::format("\\{}{{{}}}", negated ? 'P' : 'p', name);
  }

  // position_ is at the backslash.
  Result<std::string> translate_escape(bool in_class) {
    ++position_;
    if (position_ == pattern_.size()) return fail("a backslash at the end");
    switch (peek()) {
      case 'p':
      case 'P':
        return translate_property();
      case 's':
        ++position_;
        return std::string("\\p{White_Space}");
      case 'S':
        ++position_;
        return std::string("\\P{White_Space}");
      case 'd':
        ++position_;
        return std::string("\\p{Nd}");
      case 'D':
        ++position_;
        return std::string("\\P{Nd}");
      case 'w':
        ++position_;
        return in_class ? std::string(kWordClass) : fmt::format("[{}]", kWordClass);
      case 'W':
        if (in_class) return unsupported("pattern: \\W inside a class is not supported");
        ++position_;
        return fmt::format("[^{}]", kWordClass);
      case 'h':
        ++position_;
        return std::string(in_class ? "0-9a-fA-F" : "[0-9a-fA-F]");
      case 'H':
        if (in_class) return unsupported("pattern: \\H inside a class is not supported");
        ++position_;
        return std::string("[^0-9a-fA-F]");
      case 'u': {
        const std::string_view digits = pattern_.substr(position_ + 1, 4);
        if (digits.size() != 4 || !std::all_of(digits.begin(), digits.end(), [](unsigned char c) {
              return std::isxdigit(c) != 0;
            })) {
          return fail("\\u needs four hexadecimal digits");
        }
        position_ += 5;
        return fmt::format("\\x{{{}}}", digits);
      }
      default:
        break;
    }
    std::string out = "\\";
    out.push_back(take());
    while (position_ < pattern_.size() && (peek() & 0xC0) == 0x80) out.push_back(take());
    return out;
  }

  // What stands between "[" (or "&&") and "]" (or "&&"): plain items and nested classes.
  struct Union {
    std::string items;
    std::vector<std::string> nested;

    // A pattern for one character.
    std::string expression() const {
      if (nested.empty()) return fmt::format("[{}]", items);
      std::string out = "(?:";
      if (!items.empty()) out += fmt::format("[{}]|", items);
      for (std::size_t i = 0; i < nested.size(); ++i) {
        if (i > 0) out += '|';
        out += nested[i];
      }
      return out + ")";
    }
  };

  Result<std::string> translate_class(int depth) {
    if (depth > kMaxClassDepth) return fail("classes nested too deeply");
    ++position_;
    const bool negated = peek() == '^';
    if (negated) ++position_;
    std::vector<Union> operands(1);
    if (peek() == ']') {
      operands.back().items += "\\]";
      ++position_;
    }
    for (;;) {
      if (position_ >= pattern_.size()) return fail("a class without ]");
      if (peek() == ']') break;
      if (peek() == '&' && peek(1) == '&') {
        position_ += 2;
        operands.emplace_back();
      } else if (peek() == '[' && peek(1) == ':' &&
                 pattern_.find(":]", position_ + 2) != std::string_view::npos) {
        const std::size_t close = pattern_.find(":]", position_ + 2) + 2;
        operands.back().items += pattern_.substr(position_, close - position_);
        position_ = close;
      } else if (peek() == '[') {
        TUTTI_ASSIGN_OR_RETURN(std::string nested, translate_class(depth + 1));
        operands.back().nested.push_back(std::move(nested));
      } else if (peek() == '\\') {
        TUTTI_ASSIGN_OR_RETURN(const std::string escape, translate_escape(true));
        operands.back().items += escape;
      } else {
        operands.back().items.push_back(take());
      }
    }
    ++position_;
    return join(operands, negated);
  }

  static std::string join(const std::vector<Union>& operands, bool negated) {
    if (operands.size() == 1 && operands.front().nested.empty()) {
      return fmt::format("[{}{}]", negated ? "^" : "", operands.front().items);
    }
    std::string out = "(?:";
    for (std::size_t i = 0; i + 1 < operands.size(); ++i) {
      out += fmt::format("(?={})", operands[i].expression());
    }
    out += operands.back().expression() + ")";
    return negated ? fmt::format("(?:(?!{})(?s:.))", out) : out;
  }

  std::string_view pattern_;
  std::size_t position_ = 0;
};

}  // namespace

Result<std::string> to_pcre2_syntax(std::string_view pattern) {
  return Translator(pattern).translate();
}

}  // namespace tutti::text
