// Regular expressions of tokenizers: Oniguruma's Ruby syntax, run by PCRE2 with JIT.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "text/text_span.h"

namespace tutti::text {

// Rewrites what the two engines read differently (\s, \w, \h, scripts, nested and intersected
// classes) so that PCRE2 means what Oniguruma means.
// Errors: kInvalidArgument for a class that does not end, kUnsupported for what has no equal.
Result<std::string> to_pcre2_syntax(std::string_view pattern);

// Thread safety: immutable after construction.
class Regex {
 public:
  // Errors: kInvalidArgument with the pattern, PCRE2's message and the offset.
  static Result<Regex> compile(std::string_view pattern);
  // A pattern that matches `text` itself.
  static Result<Regex> compile_literal(std::string_view text);

  Regex(Regex&&) noexcept;
  Regex& operator=(Regex&&) noexcept;
  ~Regex();

 private:
  friend class RegexMatches;
  struct Code;
  explicit Regex(std::unique_ptr<const Code> code);
  std::unique_ptr<const Code> code_;
};

// The matches of a regex in a text, left to right, not overlapping.
// Thread safety: one thread at a time. Regex and text must outlive it.
class RegexMatches {
 public:
  explicit RegexMatches(const Regex& regex, std::string_view text = {});
  ~RegexMatches();
  RegexMatches(const RegexMatches&) = delete;
  RegexMatches& operator=(const RegexMatches&) = delete;

  // Begins anew with another text, which is valid UTF-8.
  void restart(std::string_view text);

  // nullopt at the end, or when the pattern ran into its match limit.
  std::optional<TextSpan> next();

 private:
  struct State;
  const Regex& regex_;
  std::string_view text_;
  std::unique_ptr<State> state_;
  std::size_t position_ = 0;
  std::optional<std::size_t> last_end_;
};

}  // namespace tutti::text
