#include "text/tokens/normalizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "text/text_pattern.h"
#include "text/tokens/precompiled_charsmap.h"
#include "text/unicode.h"

namespace tutti::text {

namespace {

using Step = Normalizer::Step;

constexpr std::size_t kMaxNormalizers = 64;
constexpr std::size_t kMaxContentBytes = 1024;  // of what a text is replaced by or put beside it

Status check_content(const std::string& content) {
  if (content.size() <= kMaxContentBytes) return {};
  return invalid_argument("normalizer", fmt::format("normalizer: content of {} bytes; at most {}",
                                                    content.size(), kMaxContentBytes));
}

template <typename Keep>
std::string keep_if(std::string_view text, Keep&& keep) {
  std::string result;
  result.reserve(text.size());
  for_each_char(text, [&](char32_t character, std::size_t begin, int length) {
    if (keep(character)) result += text.substr(begin, length);
  });
  return result;
}

std::string lowercase(std::string_view text) {
  std::string result;
  result.reserve(text.size());
  for_each_char(text, [&](char32_t c, std::size_t, int) { append_lowercase(result, c); });
  return result;
}

std::string strip(std::string_view text, bool left, bool right) {
  std::size_t first = text.size();  // begin of the first and end of the last other character
  std::size_t last = 0;
  for_each_char(text, [&](char32_t character, std::size_t begin, int length) {
    if (is_white_space(character)) return;
    first = std::min(first, begin);
    last = begin + length;
  });
  if (last == 0) return left || right ? std::string() : std::string(text);
  const std::size_t from = left ? first : 0;
  return std::string(text.substr(from, (right ? last : text.size()) - from));
}

// SentencePiece's rules for machine translation: control characters go, odd spaces become spaces.
std::string nmt(std::string_view text) {
  std::string result;
  for_each_char(text, [&](char32_t c, std::size_t, int) {
    const bool removed = (c >= 0x01 && c <= 0x08) || c == 0x0B || (c >= 0x0E && c <= 0x1F) ||
                         c == 0x7F || c == 0x8F || c == 0x9F;
    const bool is_space = c == 0x09 || c == 0x0A || c == 0x0C || c == 0x0D || c == 0x1680 ||
                          (c >= 0x200B && c <= 0x200F) || c == 0x2028 || c == 0x2029 ||
                          c == 0x2581 || c == 0xFEFF || c == 0xFFFD;
    if (!removed) append_utf8(result, is_space ? U' ' : c);
  });
  return result;
}

std::string to_byte_level(std::string_view text) {
  std::string result;
  for (const char c : text) result += byte_level_char(static_cast<std::uint8_t>(c));
  return result;
}

std::string bert(std::string_view text, const normalizer::Bert& options) {
  std::string result;
  result.reserve(text.size());
  for_each_char(text, [&](char32_t c, std::size_t, int) {
    if (options.clean_text) {
      const bool is_line = c == '\t' || c == '\n' || c == '\r';
      if (!is_line && (c == 0 || c == kReplacementCharacter || is_control_or_format(c))) return;
      if (is_white_space(c)) c = ' ';
    }
    if (options.handle_chinese_chars && is_cjk_ideograph(c)) {
      result += ' ';
      append_utf8(result, c);
      result += ' ';
    } else {
      append_utf8(result, c);
    }
  });
  if (options.strip_accents.value_or(options.lowercase)) {
    result = keep_if(normalize_unicode(result, UnicodeForm::kNfd),
                     [](char32_t c) { return !is_nonspacing_mark(c); });
  }
  return options.lowercase ? lowercase(result) : result;
}

Step unicode_form(UnicodeForm form) {
  return [form](std::string_view text) { return normalize_unicode(text, form); };
}

// One overload for each normalizer.
struct MakeStep {
  using Built = Result<Step>;
  Built operator()(const normalizer::Nfc&) const { return unicode_form(UnicodeForm::kNfc); }
  Built operator()(const normalizer::Nfd&) const { return unicode_form(UnicodeForm::kNfd); }
  Built operator()(const normalizer::Nfkc&) const { return unicode_form(UnicodeForm::kNfkc); }
  Built operator()(const normalizer::Nfkd&) const { return unicode_form(UnicodeForm::kNfkd); }
  Built operator()(const normalizer::Lowercase&) const { return Step(lowercase); }
  Built operator()(const normalizer::Nmt&) const { return Step(nmt); }
  Built operator()(const normalizer::ByteLevel&) const { return Step(to_byte_level); }
  Built operator()(const normalizer::StripAccents&) const {
    return Step([](std::string_view text) {
      return keep_if(text, [](char32_t c) { return !is_mark(c); });
    });
  }
  Built operator()(const normalizer::Strip& spec) const {
    return Step([spec](std::string_view text) { return strip(text, spec.left, spec.right); });
  }
  Built operator()(const normalizer::Prepend& spec) const {
    TUTTI_RETURN_IF_ERROR(check_content(spec.text));
    return Step([spec](std::string_view text) {
      return text.empty() ? std::string() : spec.text + std::string(text);
    });
  }
  Built operator()(const normalizer::Append& spec) const {
    TUTTI_RETURN_IF_ERROR(check_content(spec.text));
    return Step([spec](std::string_view text) {
      return text.empty() ? std::string() : std::string(text) + spec.text;
    });
  }
  Built operator()(const normalizer::Replace& spec) const {
    TUTTI_RETURN_IF_ERROR(check_content(spec.content));
    TUTTI_ASSIGN_OR_RETURN(TextPattern compiled, TextPattern::compile(spec.pattern));
    auto pattern = std::make_shared<const TextPattern>(std::move(compiled));
    return Step([pattern, content = spec.content](std::string_view text) {
      return pattern->replace_all(text, content);
    });
  }
  Built operator()(const normalizer::Bert& spec) const {
    return Step([spec](std::string_view text) { return bert(text, spec); });
  }
  Built operator()(const normalizer::Precompiled& spec) const {
    TUTTI_ASSIGN_OR_RETURN(PrecompiledCharsmap parsed, PrecompiledCharsmap::parse(spec.charsmap));
    auto map = std::make_shared<const PrecompiledCharsmap>(std::move(parsed));
    return Step([map](std::string_view text) { return map->apply(text); });
  }
};

}  // namespace

Result<Normalizer> Normalizer::create(const std::vector<NormalizerSpec>& specs) {
  if (specs.size() > kMaxNormalizers) {
    return invalid_argument("normalizer", fmt::format("{} normalizers in sequence; at most {}",
                                                      specs.size(), kMaxNormalizers));
  }
  Normalizer normalizer;
  for (const NormalizerSpec& spec : specs) {
    TUTTI_ASSIGN_OR_RETURN(Step step, std::visit(MakeStep{}, spec));
    normalizer.steps_.push_back(std::move(step));
  }
  return normalizer;
}

std::string Normalizer::apply(std::string_view text) const {
  std::string result(text);
  for (const Step& step : steps_) {
    if (result.size() / kMaxGrowth > text.size() + 1) break;
    result = step(result);
  }
  return result;
}

}  // namespace tutti::text
