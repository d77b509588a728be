#include <boost/json.hpp>

#include "base/json.h"
#include "dialects/openai.h"
#include "dialects/utf8.h"

namespace tutti::dialects::openai {
namespace {

struct ErrorRow {
  ErrorKind kind;
  int http_status;
  const char* type;
  const char* code;     // null: none
  const char* message;  // in place of the error's own, which may tell of our insides
};

constexpr ErrorRow kErrors[] = {
    {ErrorKind::kInvalidArgument, 400, "invalid_request_error", nullptr, nullptr},
    {ErrorKind::kUnsupported, 400, "invalid_request_error", "unsupported_parameter", nullptr},
    {ErrorKind::kNotFound, 404, "not_found_error", "not_found", nullptr},
    {ErrorKind::kTooLarge, 413, "invalid_request_error", "request_too_large", nullptr},
    {ErrorKind::kOverloaded, 429, "rate_limit_error", "rate_limit_exceeded", nullptr},
    {ErrorKind::kDeadlineExceeded, 504, "timeout_error", "deadline_exceeded", nullptr},
    {ErrorKind::kCancelled, 499, "cancelled_error", "cancelled", "the request was cancelled"},
    {ErrorKind::kUnavailable, 503, "service_unavailable_error", "service_unavailable", nullptr},
    {ErrorKind::kCorrupt, 500, "internal_error", "internal_error", "internal error"},
    {ErrorKind::kInternal, 500, "internal_error", "internal_error", "internal error"},
};

const ErrorRow& row_of(ErrorKind kind) {
  for (const ErrorRow& row : kErrors) {
    if (row.kind == kind) return row;
  }
  return kErrors[std::size(kErrors) - 1];
}

json::object model_json(const ModelCard& model) {
  return {{"id", model.id},
          {"object", "model"},
          {"created", model.created_unix_seconds},
          {"owned_by", "tutti"},
          {"root", model.id},
          {"parent", nullptr},
          {"max_model_len", model.max_model_len}};
}

}  // namespace

HttpError render_error(const Status& status) {
  const ErrorRow& row = row_of(status.kind());
  json::object error;
  error["message"] =
      row.message != nullptr ? std::string(row.message) : well_formed_utf8(status.message());
  error["type"] = row.type;
  error["param"] =
      status.field().empty() ? json::value(nullptr) : json::value(well_formed_utf8(status.field()));
  error["code"] = row.code == nullptr ? json::value(nullptr) : json::value(row.code);
  return {row.http_status, write_json(json::object{{"error", std::move(error)}})};
}

std::string render_model_list(const std::vector<ModelCard>& models) {
  json::array data;
  for (const ModelCard& model : models) data.push_back(model_json(model));
  return write_json(json::object{{"object", "list"}, {"data", std::move(data)}});
}

std::string render_model(const ModelCard& model) { return write_json(model_json(model)); }

}  // namespace tutti::dialects::openai
