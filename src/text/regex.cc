#define PCRE2_CODE_UNIT_WIDTH 8
#include "text/regex.h"

#include <fmt/format.h>
#include <pcre2.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <utility>

namespace tutti::text {
namespace {

constexpr std::size_t kMaxPatternBytes = 64 << 10;
// Steps of one match: a few for each byte of the text are what honest patterns need at worst (a run
// of spaces as long as the text).
constexpr std::size_t kMinMatchLimit = 1'000'000;
constexpr std::size_t kMatchLimitPerByte = 8;
constexpr std::size_t kMaxMatchLimit = 1'000'000'000;
constexpr std::uint32_t kHeapLimitKiB = 64 << 10;
constexpr std::size_t kJitStackMaxBytes = 8 << 20;

struct Deleter {
  void operator()(pcre2_code* p) const { pcre2_code_free(p); }
  void operator()(pcre2_compile_context* p) const { pcre2_compile_context_free(p); }
  void operator()(pcre2_match_context* p) const { pcre2_match_context_free(p); }
  void operator()(pcre2_match_data* p) const { pcre2_match_data_free(p); }
  void operator()(pcre2_jit_stack* p) const { pcre2_jit_stack_free(p); }
};
template <typename T>
using Owned = std::unique_ptr<T, Deleter>;

std::string error_text(int code) {
  std::array<PCRE2_UCHAR, 256> buffer{};
  pcre2_get_error_message(code, buffer.data(), buffer.size());
  return reinterpret_cast<const char*>(buffer.data());
}

}  // namespace

struct Regex::Code {
  Owned<pcre2_code> code;
  bool has_jit = false;
};

Regex::Regex(std::unique_ptr<const Code> code) : code_(std::move(code)) {}
Regex::Regex(Regex&&) noexcept = default;
Regex& Regex::operator=(Regex&&) noexcept = default;
Regex::~Regex() = default;

Result<Regex> Regex::compile(std::string_view pattern) {
  if (pattern.size() > kMaxPatternBytes) {
    return invalid_argument("pattern", fmt::format("a pattern of {} bytes; at most {} are read",
                                                   pattern.size(), kMaxPatternBytes));
  }
  TUTTI_ASSIGN_OR_RETURN(const std::string translated, to_pcre2_syntax(pattern));
  const Owned<pcre2_compile_context> context(pcre2_compile_context_create(nullptr));
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  pcre2_set_parens_nest_limit(context.get(), 100);
  int error = 0;
  std::size_t offset = 0;
  auto code = std::make_unique<Code>();
  code->code.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
                                 PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C,
                                 &error, &offset, context.get()));
  if (!code->code) {
    return invalid_argument("pattern", fmt::format("pattern {:?} is refused at byte {}: {}",
                                                   translated, offset, error_text(error)));
  }
  code->has_jit = pcre2_jit_compile(code->code.get(), PCRE2_JIT_COMPLETE) == 0;
  return Regex(std::move(code));
}

Result<Regex> Regex::compile_literal(std::string_view text) {
  std::string escaped;
  for (const char c : text) {
    if (static_cast<unsigned char>(c) < 0x80) {
      escaped += fmt::format("\\x{:02x}", static_cast<unsigned>(c));
    } else {
      escaped.push_back(c);
    }
  }
  return compile(escaped);
}

struct RegexMatches::State {
  Owned<pcre2_match_data> data;
  Owned<pcre2_match_context> context;
  Owned<pcre2_jit_stack> stack;
};

RegexMatches::RegexMatches(const Regex& regex, std::string_view text)
    : regex_(regex), state_(std::make_unique<State>()) {
  state_->data.reset(pcre2_match_data_create(1, nullptr));
  state_->context.reset(pcre2_match_context_create(nullptr));
  pcre2_set_heap_limit(state_->context.get(), kHeapLimitKiB);
  if (regex.code_->has_jit) {
    state_->stack.reset(pcre2_jit_stack_create(32 << 10, kJitStackMaxBytes, nullptr));
    pcre2_jit_stack_assign(state_->context.get(), nullptr, state_->stack.get());
  }
  restart(text);
}

RegexMatches::~RegexMatches() = default;

void RegexMatches::restart(std::string_view text) {
  text_ = text;
  pcre2_set_match_limit(state_->context.get(),
                        static_cast<std::uint32_t>(std::clamp(text.size() * kMatchLimitPerByte,
                                                              kMinMatchLimit, kMaxMatchLimit)));
  position_ = 0;
  last_end_.reset();
}

std::optional<TextSpan> RegexMatches::next() {
  const auto* subject = reinterpret_cast<PCRE2_SPTR>(text_.data());
  const pcre2_code* code = regex_.code_->code.get();
  while (position_ <= text_.size()) {
    const int count =
        regex_.code_->has_jit
            ? pcre2_jit_match(code, subject, text_.size(), position_, PCRE2_NO_UTF_CHECK,
                              state_->data.get(), state_->context.get())
            : pcre2_match(code, subject, text_.size(), position_, PCRE2_NO_UTF_CHECK,
                          state_->data.get(), state_->context.get());
    if (count < 0) break;
    const std::size_t* offsets = pcre2_get_ovector_pointer(state_->data.get());
    const TextSpan match{offsets[0], offsets[1]};
    if (match.begin >= match.end) {
      // An empty match is stepped over by one character, and not given right behind another match.
      const bool touches_last = last_end_ == match.end;
      position_ = match.end + 1;
      while (position_ < text_.size() && (text_[position_] & 0xC0) == 0x80) ++position_;
      if (touches_last || match.begin > match.end) continue;
    } else {
      position_ = match.end;
    }
    last_end_ = match.end;
    return match;
  }
  position_ = text_.size() + 1;
  return std::nullopt;
}

}  // namespace tutti::text
