// Which endpoint a method and a path mean.
#pragma once

#include <string>

#include "base/result.h"
#include "dialects/dialect.h"
#include "server/http_types.h"

namespace tutti::server {

enum class Endpoint {
  kNone,
  kHealth,
  kReady,
  kMetrics,
  kOpenAiModels,
  kOpenAiModel,
  kOpenAiChat,
  kOpenAiCompletion,
  kOllamaRoot,
  kOllamaVersion,
  kOllamaTags,
  kOllamaPs,
  kOllamaShow,
  kOllamaChat,
  kOllamaGenerate,
};

enum class Dialect { kOpenAi, kOllama };

struct Route {
  Endpoint endpoint = Endpoint::kNone;
  Dialect dialect = Dialect::kOpenAi;  // of errors too
  std::string parameter;               // the model of /v1/models/{id}
  bool known_path = false;             // with kNone: the path exists, the method does not
  std::string allowed_methods;         // "GET, HEAD", when the path is known
};

Route find_route(const HttpRequest& request);

// An error as the dialect words it; adds Retry-After to 429 and 503.
HttpResponse render_error(Dialect dialect, const Status& status, int retry_after_seconds = 1);

bool is_generation(Endpoint endpoint);

}  // namespace tutti::server
