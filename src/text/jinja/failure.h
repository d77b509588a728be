// How a template's evaluation ends early. Thrown inside the interpreter only: ChatTemplate and
// GoTemplate turn it into a Status before they return.
#pragma once

#include <fmt/format.h>

#include <string>
#include <utility>

namespace tutti::text::jinja {

enum class FailureKind {
  kAccident,  // a type error, an undefined value, a wrong argument
  kRefusal,   // raise_exception: the template's author says no
  kLimit,     // fuel, memory, output or nesting
};

struct Failure {
  FailureKind kind;
  std::string message;
};

[[noreturn]] inline void fail(std::string message) {
  throw Failure{FailureKind::kAccident, std::move(message)};
}
[[noreturn]] inline void fail_limit(std::string message) {
  throw Failure{FailureKind::kLimit, std::move(message)};
}

// The same with a message made by fmt::format.
template <typename First, typename... Rest>
[[noreturn]] void fail(fmt::format_string<First, Rest...> format, First&& first, Rest&&... rest) {
  fail(fmt::format(format, std::forward<First>(first), std::forward<Rest>(rest)...));
}
template <typename First, typename... Rest>
[[noreturn]] void fail_limit(fmt::format_string<First, Rest...> format, First&& first,
                             Rest&&... rest) {
  fail_limit(fmt::format(format, std::forward<First>(first), std::forward<Rest>(rest)...));
}

}  // namespace tutti::text::jinja
