// The endpoints that answer at once: lists, cards, health, metrics.
#pragma once

#include <atomic>
#include <cstdint>

#include "server/http_types.h"
#include "server/model_registry.h"
#include "server/router.h"

namespace tutti::server {

// Counted over all models. Thread safety: atomics.
struct HttpCounters {
  std::atomic<std::int64_t> num_connections{0};
  std::atomic<std::uint64_t> num_requests{0};
  std::atomic<std::uint64_t> num_client_errors{0};  // answered with 4xx
  std::atomic<std::uint64_t> num_server_errors{0};  // answered with 5xx

  void count_response(int status) {
    ++num_requests;
    if (status >= 500) ++num_server_errors;
    if (status >= 400 && status < 500) ++num_client_errors;
  }
};

struct ApiState {
  ModelRegistry registry;
  HttpCounters counters;
  bool vllm_metric_names = false;
};

// For every endpoint but the generating ones and kReady; an unknown path or method is 404 or 405
// in the dialect of the path.
HttpResponse answer(const Route& route, const HttpRequest& request, const ApiState& state);

// /ready's answer: 200 for an ok status, else 503 with the reason.
HttpResponse ready_response(const Status& status);

}  // namespace tutti::server
