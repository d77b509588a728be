#include "text/tokens/pre_tokenizer.h"

#include <fmt/format.h>

#include <utility>

#include "text/text_pattern.h"
#include "text/tokens/piece_splitter.h"
#include "text/tokens/unicode_scripts.h"
#include "text/unicode.h"

namespace tutti::text {
namespace {

constexpr std::size_t kMaxPreTokenizers = 32;
constexpr std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
// With the joiners, which are word characters there but not to Oniguruma.
constexpr std::string_view kWordPattern = R"([\w\x{200c}\x{200d}]+|[^\w\s\x{200c}\x{200d}]+)";

}  // namespace

class PreTokenizer::Step {
 public:
  virtual ~Step() = default;
  virtual void apply(PreTokenizedText& pieces) const = 0;
};

namespace {

void set_pieces(PreTokenizedText& text, std::vector<TextSpan> pieces) {
  text.first_is_at_start = text.first_is_at_start && !pieces.empty() &&
                           pieces.front().begin == text.pieces.front().begin;
  text.pieces = std::move(pieces);
}

// Cuts each piece further; the text stays. find_matches(piece, visit) calls visit(TextSpan) for
// each delimiter of a piece.
template <typename FindMatches>
void split_pieces(PreTokenizedText& text, SplitBehavior behavior, bool invert,
                  FindMatches&& find_matches) {
  std::vector<TextSpan> pieces;
  pieces.reserve(text.pieces.size());
  for (const TextSpan whole : text.pieces) {
    PieceSplitter splitter(whole, behavior, invert, pieces);
    find_matches(std::string_view(text.text).substr(whole.begin, whole.end - whole.begin),
                 [&](TextSpan match) {
                   splitter.match({whole.begin + match.begin, whole.begin + match.end});
                 });
    splitter.finish();
  }
  set_pieces(text, std::move(pieces));
}

class PatternStep : public PreTokenizer::Step {
 public:
  PatternStep(TextPattern pattern, SplitBehavior behavior, bool invert)
      : pattern_(std::move(pattern)), behavior_(behavior), invert_(invert) {}

  void apply(PreTokenizedText& text) const override {
    TextPattern::Finder finder(pattern_);
    split_pieces(text, behavior_, invert_, [&](std::string_view piece, auto&& visit) {
      finder.for_each_match(piece, visit);
    });
  }

 private:
  TextPattern pattern_;
  SplitBehavior behavior_;
  bool invert_;
};

// Cuts at single characters.
class CharacterStep : public PreTokenizer::Step {
 public:
  using Predicate = bool (*)(char32_t);
  CharacterStep(Predicate is_delimiter, SplitBehavior behavior)
      : is_delimiter_(is_delimiter), behavior_(behavior) {}

  void apply(PreTokenizedText& text) const override {
    split_pieces(text, behavior_, false, [&](std::string_view piece, auto&& visit) {
      for_each_char(piece, [&](char32_t character, std::size_t begin, int length) {
        if (is_delimiter_(character)) visit(TextSpan{begin, begin + length});
      });
    });
  }

 private:
  Predicate is_delimiter_;
  SplitBehavior behavior_;
};

// A piece begins where the script changes. Characters of any script go with the ones before them;
// those before the first of a script are left out, as Hugging Face's does.
class ScriptStep : public PreTokenizer::Step {
 public:
  void apply(PreTokenizedText& text) const override {
    std::vector<TextSpan> pieces;
    for (const TextSpan whole : text.pieces) {
      int last = kAnyScript;
      for_each_char(std::string_view(text.text).substr(whole.begin, whole.end - whole.begin),
                    [&](char32_t character, std::size_t begin, int) {
                      const int script = unicode_script(character);
                      if (script == kAnyScript || script == last) return;
                      if (last != kAnyScript) pieces.back().end = whole.begin + begin;
                      pieces.push_back({whole.begin + begin, whole.end});
                      last = script;
                    });
    }
    set_pieces(text, std::move(pieces));
  }
};

// Writes the text anew, piece by piece.
class RewriteStep : public PreTokenizer::Step {
 public:
  void apply(PreTokenizedText& text) const override {
    std::string result;
    result.reserve(text.text.size() + 3);
    bool at_start = text.first_is_at_start;
    for (TextSpan& piece : text.pieces) {
      const std::size_t begin = result.size();
      append(std::string_view(text.text).substr(piece.begin, piece.end - piece.begin), at_start,
             result);
      piece = {begin, result.size()};
      at_start = false;
    }
    text.text = std::move(result);
  }

 protected:
  virtual void append(std::string_view piece, bool at_start, std::string& result) const = 0;
};

class PrefixSpaceStep : public RewriteStep {
 protected:
  void append(std::string_view piece, bool, std::string& result) const override {
    if (!piece.starts_with(' ')) result += ' ';
    result += piece;
  }
};

class ByteLevelStep : public RewriteStep {
 protected:
  void append(std::string_view piece, bool, std::string& result) const override {
    for (const char c : piece) result += byte_level_char(static_cast<std::uint8_t>(c));
  }
};

class MetaspaceStep : public RewriteStep {
 public:
  explicit MetaspaceStep(const pre_tokenizer::Metaspace& spec) : spec_(spec) {}

 protected:
  void append(std::string_view piece, bool at_start, std::string& result) const override {
    const bool prepends = spec_.prepend_scheme == PrependScheme::kAlways ||
                          (spec_.prepend_scheme == PrependScheme::kFirst && at_start);
    if (prepends && !piece.starts_with(' ') && !piece.starts_with(spec_.replacement)) {
      result += spec_.replacement;
    }
    for (const char c : piece) {
      if (c == ' ') {
        result += spec_.replacement;
      } else {
        result += c;
      }
    }
  }

 private:
  pre_tokenizer::Metaspace spec_;
};

using Steps = std::vector<std::unique_ptr<const PreTokenizer::Step>>;

Status add_pattern(Steps& steps, const PatternSpec& spec, SplitBehavior behavior, bool invert) {
  TUTTI_ASSIGN_OR_RETURN(TextPattern pattern, TextPattern::compile(spec));
  steps.push_back(std::make_unique<PatternStep>(std::move(pattern), behavior, invert));
  return {};
}

// Appends what one spec stands for. One overload for each pre-tokenizer.
struct AddSteps {
  Steps& steps;
  bool is_last;

  Status operator()(const pre_tokenizer::Split& spec) const {
    return add_pattern(steps, spec.pattern, spec.behavior, spec.invert);
  }
  Status operator()(const pre_tokenizer::ByteLevel& spec) const {
    if (spec.add_prefix_space) steps.push_back(std::make_unique<PrefixSpaceStep>());
    if (spec.use_regex) {
      TUTTI_RETURN_IF_ERROR(
          add_pattern(steps, {std::string(kGpt2Pattern), true}, SplitBehavior::kIsolated, false));
    }
    // The last one leaves the mapping of bytes to the model.
    if (!is_last) steps.push_back(std::make_unique<ByteLevelStep>());
    return {};
  }
  Status operator()(const pre_tokenizer::Digits& spec) const {
    steps.push_back(std::make_unique<CharacterStep>(
        is_number, spec.individual_digits ? SplitBehavior::kIsolated : SplitBehavior::kContiguous));
    return {};
  }
  Status operator()(const pre_tokenizer::Metaspace& spec) const {
    steps.push_back(std::make_unique<MetaspaceStep>(spec));
    if (!spec.split) return {};
    return add_pattern(steps, {spec.replacement, false}, SplitBehavior::kMergedWithNext, false);
  }
  Status operator()(const pre_tokenizer::Whitespace&) const {
    return add_pattern(steps, {std::string(kWordPattern), true}, SplitBehavior::kRemoved, true);
  }
  Status operator()(const pre_tokenizer::WhitespaceSplit&) const {
    steps.push_back(std::make_unique<CharacterStep>(is_white_space, SplitBehavior::kRemoved));
    return {};
  }
  Status operator()(const pre_tokenizer::Punctuation& spec) const {
    steps.push_back(std::make_unique<CharacterStep>(is_unicode_punctuation, spec.behavior));
    return {};
  }
  Status operator()(const pre_tokenizer::Bert&) const {
    steps.push_back(std::make_unique<CharacterStep>(is_white_space, SplitBehavior::kRemoved));
    steps.push_back(
        std::make_unique<CharacterStep>(is_unicode_punctuation, SplitBehavior::kIsolated));
    return {};
  }
  Status operator()(const pre_tokenizer::UnicodeScripts&) const {
    steps.push_back(std::make_unique<ScriptStep>());
    return {};
  }
};

}  // namespace

PreTokenizer::PreTokenizer() = default;
PreTokenizer::PreTokenizer(PreTokenizer&&) noexcept = default;
PreTokenizer& PreTokenizer::operator=(PreTokenizer&&) noexcept = default;
PreTokenizer::~PreTokenizer() = default;

Result<PreTokenizer> PreTokenizer::create(const std::vector<PreTokenizerSpec>& specs) {
  if (specs.size() > kMaxPreTokenizers) {
    return invalid_argument(
        "pre_tokenizer",
        fmt::format("{} pre-tokenizers in sequence; at most {}", specs.size(), kMaxPreTokenizers));
  }
  PreTokenizer result;
  for (std::size_t i = 0; i < specs.size(); ++i) {
    const bool is_last = i + 1 == specs.size();
    TUTTI_RETURN_IF_ERROR(std::visit(AddSteps{result.steps_, is_last}, specs[i]));
    result.is_byte_level_ = is_last && std::holds_alternative<pre_tokenizer::ByteLevel>(specs[i]);
  }
  return result;
}

PreTokenizedText PreTokenizer::apply(std::string text, bool at_start) const {
  PreTokenizedText result{std::move(text), {}, at_start};
  if (result.text.empty()) return result;
  result.pieces.push_back({0, result.text.size()});
  for (const auto& step : steps_) step->apply(result);
  return result;
}

}  // namespace tutti::text
