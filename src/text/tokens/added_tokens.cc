#include "text/tokens/added_tokens.h"

#include <algorithm>
#include <limits>

#include "text/unicode.h"

namespace tutti::text {
namespace {

std::size_t previous_char_begin(std::string_view text, std::size_t end) {
  std::size_t begin = end - 1;
  while (begin > 0 && (text[begin] & 0xC0) == 0x80) --begin;
  return begin;
}

bool ends_with_word(std::string_view text) {
  return !text.empty() &&
         is_word_character(char_at(text, previous_char_begin(text, text.size())).character);
}

bool starts_with_word(std::string_view text) {
  return !text.empty() && is_word_character(char_at(text, 0).character);
}

bool is_all_white_space(std::string_view text) {
  bool result = true;
  for_each_char(text, [&](char32_t c, std::size_t, int) {
    result = result && (is_white_space(c) || c == 0x2581);
  });
  return result;
}

// The match with the white space around it that the token takes, not before `floor`.
TextSpan widen(std::string_view text, TextSpan match, const AddedTokenSpec& token,
               std::size_t floor) {
  if (token.lstrip) {
    while (match.begin > floor) {
      const std::size_t previous = previous_char_begin(text, match.begin);
      if (!is_white_space(char_at(text, previous).character)) break;
      match.begin = previous;
    }
  }
  if (token.rstrip) {
    while (match.end < text.size()) {
      const CharAt next = char_at(text, match.end);
      if (!is_white_space(next.character)) break;
      match.end += next.length;
    }
  }
  return match;
}

}  // namespace

AddedTokenFinder::AddedTokenFinder(const std::vector<AddedTokenSpec>& tokens, bool normalized,
                                   const Normalizer& normalizer) {
  for (const AddedTokenSpec& spec : tokens) {
    if (spec.normalized != normalized || spec.content.empty()) continue;
    const std::string content = normalized ? normalizer.apply(spec.content) : spec.content;
    if (content.empty()) continue;
    trie_.insert(content, static_cast<std::int32_t>(tokens_.size()));
    tokens_.push_back({spec, is_all_white_space(content)});
    is_first_[static_cast<unsigned char>(content[0])] = true;
    is_empty_ = false;
  }
}

AddedTokenFinder::Match AddedTokenFinder::longest_match(std::string_view text, std::size_t begin,
                                                        bool parse_special,
                                                        TextSpan next_literal) const {
  Match best;
  std::int32_t node = ByteTrie::kRoot;
  for (std::size_t end = begin; end < text.size();) {
    node = trie_.child(node, text[end]);
    if (node == ByteTrie::kNoNode) break;
    ++end;
    const std::int32_t index = trie_.value(node);
    if (index == ByteTrie::kNoValue) continue;
    const Token& token = tokens_[static_cast<std::size_t>(index)];
    const bool is_literal = end > next_literal.begin && !token.is_white_space;
    if (!is_literal) best = {{begin, end}, &token};
  }
  // A special token that is not parsed hides shorter ones, as in Hugging Face's.
  if (best.token != nullptr && best.token->spec.special && !parse_special) best.token = nullptr;
  return best;
}

std::vector<TextSegment> AddedTokenFinder::split(std::string_view text, bool parse_special,
                                                 std::span<const TextSpan> literal_spans) const {
  std::vector<TextSegment> segments;
  std::size_t copied = 0;  // segments cover text[0, copied)
  std::size_t literal_index = 0;
  for (std::size_t begin = 0; begin < text.size() && !is_empty_;) {
    if (!is_first_[static_cast<unsigned char>(text[begin])]) {
      ++begin;
      continue;
    }
    while (literal_index < literal_spans.size() && literal_spans[literal_index].end <= begin) {
      ++literal_index;
    }
    constexpr TextSpan kNone{std::numeric_limits<std::size_t>::max(),
                             std::numeric_limits<std::size_t>::max()};
    const TextSpan literal =
        literal_index < literal_spans.size() ? literal_spans[literal_index] : kNone;
    const Match match = longest_match(text, begin, parse_special, literal);
    if (match.span.end == 0) {
      ++begin;
      continue;
    }
    begin = match.span.end;
    if (match.token == nullptr) continue;
    const AddedTokenSpec& token = match.token->spec;
    if (token.single_word && (ends_with_word(text.substr(0, match.span.begin)) ||
                              starts_with_word(text.substr(match.span.end)))) {
      continue;
    }
    const TextSpan wide = widen(text, match.span, token, copied);
    if (copied < wide.begin) segments.push_back({{copied, wide.begin}, -1});
    segments.push_back({wide, token.id});
    copied = wide.end;
  }
  if (copied < text.size()) segments.push_back({{copied, text.size()}, -1});
  return segments;
}

}  // namespace tutti::text
