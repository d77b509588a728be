// A string or a regex to look for, as normalizers, pre-tokenizers and decoders use it.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "text/regex.h"
#include "text/text_span.h"
#include "text/tokenizer_spec.h"

namespace tutti::text {

// Thread safety: immutable after construction.
class TextPattern {
 public:
  static Result<TextPattern> compile(const PatternSpec& spec);

  // Looks through one text after the other, keeping its working memory.
  // Thread safety: one thread at a time. The pattern must outlive it.
  class Finder {
   public:
    explicit Finder(const TextPattern& pattern) : pattern_(pattern) {
      if (pattern.regex_) matches_.emplace(*pattern.regex_);
    }

    // Calls visit(TextSpan) for each match, left to right, not overlapping. An empty string matches
    // nothing. `text` is valid UTF-8.
    template <typename Visitor>
    void for_each_match(std::string_view text, Visitor&& visit) {
      if (matches_) {
        matches_->restart(text);
        while (const std::optional<TextSpan> match = matches_->next()) visit(*match);
        return;
      }
      const std::string& literal = pattern_.literal_;
      if (literal.empty()) return;
      for (std::size_t begin = text.find(literal); begin != std::string_view::npos;) {
        visit(TextSpan{begin, begin + literal.size()});
        begin = text.find(literal, begin + literal.size());
      }
    }

   private:
    const TextPattern& pattern_;
    std::optional<RegexMatches> matches_;
  };

  std::string replace_all(std::string_view text, std::string_view content) const;

 private:
  TextPattern() = default;
  std::string literal_;
  std::optional<Regex> regex_;
};

}  // namespace tutti::text
