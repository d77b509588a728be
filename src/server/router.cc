#include "server/router.h"

#include "dialects/ollama.h"
#include "dialects/openai.h"

namespace tutti::server {
namespace {

struct RouteRow {
  const char* path;
  bool is_prefix;  // the rest of the path, not empty, is the parameter
  const char* methods;
  Endpoint endpoint;
  Dialect dialect;
};

constexpr const char* kRead = "GET, HEAD";

constexpr RouteRow kRoutes[] = {
    {"/health", false, kRead, Endpoint::kHealth, Dialect::kOpenAi},
    {"/ready", false, kRead, Endpoint::kReady, Dialect::kOpenAi},
    {"/metrics", false, kRead, Endpoint::kMetrics, Dialect::kOpenAi},
    {"/v1/models", false, kRead, Endpoint::kOpenAiModels, Dialect::kOpenAi},
    {"/v1/models/", true, kRead, Endpoint::kOpenAiModel, Dialect::kOpenAi},
    {"/v1/chat/completions", false, "POST", Endpoint::kOpenAiChat, Dialect::kOpenAi},
    {"/v1/completions", false, "POST", Endpoint::kOpenAiCompletion, Dialect::kOpenAi},
    {"/", false, kRead, Endpoint::kOllamaRoot, Dialect::kOllama},
    {"/api/version", false, kRead, Endpoint::kOllamaVersion, Dialect::kOllama},
    {"/api/tags", false, kRead, Endpoint::kOllamaTags, Dialect::kOllama},
    {"/api/ps", false, kRead, Endpoint::kOllamaPs, Dialect::kOllama},
    {"/api/show", false, "POST", Endpoint::kOllamaShow, Dialect::kOllama},
    {"/api/chat", false, "POST", Endpoint::kOllamaChat, Dialect::kOllama},
    {"/api/generate", false, "POST", Endpoint::kOllamaGenerate, Dialect::kOllama},
};

bool allows(const RouteRow& row, const std::string& method) {
  return std::string_view(row.methods) == kRead ? method == "GET" || method == "HEAD"
                                                : method == row.methods;
}

}  // namespace

Route find_route(const HttpRequest& request) {
  Route route;
  route.dialect = request.path.starts_with("/api/") ? Dialect::kOllama : Dialect::kOpenAi;
  for (const RouteRow& row : kRoutes) {
    const std::string_view path = row.path;
    const bool matches = row.is_prefix
                             ? request.path.starts_with(path) && request.path.size() > path.size()
                             : request.path == path;
    if (!matches) continue;
    route.known_path = true;
    route.dialect = row.dialect;
    route.allowed_methods = row.methods;
    if (!allows(row, request.method)) return route;
    route.endpoint = row.endpoint;
    if (row.is_prefix) route.parameter = request.path.substr(path.size());
    return route;
  }
  return route;
}

HttpResponse render_error(Dialect dialect, const Status& status, int retry_after_seconds) {
  const dialects::HttpError error = dialect == Dialect::kOllama
                                        ? dialects::ollama::render_error(status)
                                        : dialects::openai::render_error(status);
  HttpResponse response{error.status, error.content_type, error.body, {}};
  if (error.status == 429 || error.status == 503) {
    response.headers.emplace_back("Retry-After", std::to_string(retry_after_seconds));
  }
  return response;
}

bool is_generation(Endpoint endpoint) {
  return endpoint == Endpoint::kOpenAiChat || endpoint == Endpoint::kOpenAiCompletion ||
         endpoint == Endpoint::kOllamaChat || endpoint == Endpoint::kOllamaGenerate;
}

}  // namespace tutti::server
