// TUTTI_CHECK(condition) << "what was known": a bug, not an input. Prints and aborts.
// Never use it on anything that a client or a file can bring about.
#pragma once

#include <sstream>

namespace tutti::internal {

class CheckFailure {
 public:
  CheckFailure(const char* file, int line, const char* condition);
  [[noreturn]] ~CheckFailure();
  std::ostream& stream() { return stream_; }

 private:
  std::ostringstream stream_;
};

// Lets a check be an expression of type void.
struct CheckVoidify {
  void operator&(std::ostream&) const {}
};

}  // namespace tutti::internal

#define TUTTI_CHECK(condition)                      \
  (condition) ? (void)0                             \
              : ::tutti::internal::CheckVoidify() & \
                    ::tutti::internal::CheckFailure(__FILE__, __LINE__, #condition).stream()
