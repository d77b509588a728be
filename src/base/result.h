// Errors as values: Status, and Result<T> which is a T or a Status.
//
// A Status carries a kind (the dialects map it to HTTP), a message that says what the caller did
// wrong and names the field and the bound, and optionally the field alone.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <variant>

#include "base/check.h"

namespace tutti {

enum class ErrorKind {
  kInvalidArgument,   // the client's: 400
  kNotFound,          // unknown model or route: 404
  kTooLarge,          // body, header or count over a cap: 413
  kUnsupported,       // a known feature that is not built: 400 naming it
  kOverloaded,        // queue full: 429 or 503 by dialect
  kDeadlineExceeded,  // 408 or an error event
  kCancelled,         // the client went away
  kUnavailable,       // the engine is not ready: 503
  kCorrupt,           // a file that does not keep its format
  kInternal,          // ours: 500
};

// The kind as a word for logs, e.g. "invalid_argument".
const char* to_string(ErrorKind kind);

class [[nodiscard]] Status {
 public:
  Status() = default;  // ok
  Status(ErrorKind kind, std::string message, std::string field = {})
      : error_(Error{kind, std::move(message), std::move(field)}) {}

  bool ok() const { return !error_.has_value(); }
  // The next three may be called only when !ok().
  ErrorKind kind() const { return error().kind; }
  const std::string& message() const { return error().message; }
  // The request field at fault ("temperature", "messages[2].role"), or empty.
  const std::string& field() const { return error().field; }

  // The same error with `prefix` and ": " before its message; for naming the file or the tensor.
  Status with_context(const std::string& prefix) const {
    return ok() ? *this : Status(kind(), prefix + ": " + message(), field());
  }

 private:
  struct Error {
    ErrorKind kind;
    std::string message;
    std::string field;
  };
  const Error& error() const {
    TUTTI_CHECK(error_.has_value()) << "error of an ok Status";
    return *error_;
  }
  std::optional<Error> error_;
};

inline Status invalid_argument(std::string field, std::string message) {
  return Status(ErrorKind::kInvalidArgument, std::move(message), std::move(field));
}
inline Status corrupt(std::string message) { return {ErrorKind::kCorrupt, std::move(message)}; }
inline Status unsupported(std::string message, std::string field = {}) {
  return {ErrorKind::kUnsupported, std::move(message), std::move(field)};
}
inline Status not_found(std::string message) { return {ErrorKind::kNotFound, std::move(message)}; }

template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::move(value)) {}        // NOLINT: implicit on purpose
  Result(Status status) : state_(std::move(status)) {  // NOLINT: implicit on purpose
    TUTTI_CHECK(!std::get<Status>(state_).ok()) << "a Result without a value needs an error";
  }

  bool ok() const { return std::holds_alternative<T>(state_); }
  explicit operator bool() const { return ok(); }
  // Ok when ok().
  Status status() const { return ok() ? Status() : std::get<Status>(state_); }

  T& value() & {
    TUTTI_CHECK(ok()) << status_message();
    return std::get<T>(state_);
  }
  const T& value() const& {
    TUTTI_CHECK(ok()) << status_message();
    return std::get<T>(state_);
  }
  T&& value() && {
    TUTTI_CHECK(ok()) << status_message();
    return std::move(std::get<T>(state_));
  }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

 private:
  const std::string& status_message() const { return std::get<Status>(state_).message(); }
  std::variant<T, Status> state_;
};

// Returns from the enclosing function with the error of a Status expression.
#define TUTTI_RETURN_IF_ERROR(expression)          \
  do {                                             \
    ::tutti::Status tutti_status_ = (expression);  \
    if (!tutti_status_.ok()) return tutti_status_; \
  } while (false)

#define TUTTI_CONCAT_INNER_(a, b) a##b
#define TUTTI_CONCAT_(a, b) TUTTI_CONCAT_INNER_(a, b)
// TUTTI_ASSIGN_OR_RETURN(auto file, MappedFile::open(path));
#define TUTTI_ASSIGN_OR_RETURN(declaration, expression) \
  TUTTI_ASSIGN_OR_RETURN_IMPL_(TUTTI_CONCAT_(tutti_result_, __LINE__), declaration, expression)
#define TUTTI_ASSIGN_OR_RETURN_IMPL_(result, declaration, expression) \
  auto result = (expression);                                         \
  if (!result.ok()) return result.status();                           \
  declaration = std::move(result).value()

}  // namespace tutti
