#include "server/api.h"

#include <fmt/format.h>

#include "base/json.h"
#include "dialects/ollama.h"
#include "dialects/openai.h"
#include "server/cards.h"

namespace tutti::server {
namespace {

HttpResponse json_response(std::string body) {
  return {200, "application/json", std::move(body), {}};
}

HttpResponse text_response(std::string body) {
  return {200, "text/plain; charset=utf-8", std::move(body), {}};
}

HttpResponse openai_models(const ApiState& state) {
  std::vector<dialects::openai::ModelCard> cards;
  for (const ServedModel& served : state.registry.all())
    cards.push_back(openai_card(*served.model));
  return json_response(dialects::openai::render_model_list(cards));
}

HttpResponse openai_model(const std::string& name, const ApiState& state) {
  const auto served = state.registry.find(name);
  if (!served.ok()) return render_error(Dialect::kOpenAi, served.status());
  return json_response(dialects::openai::render_model(openai_card(*served->model)));
}

HttpResponse ollama_tags(const ApiState& state) {
  std::vector<dialects::ollama::ModelCard> cards;
  for (const ServedModel& served : state.registry.all())
    cards.push_back(ollama_card(*served.model));
  return json_response(dialects::ollama::render_tags(cards));
}

HttpResponse ollama_ps(const ApiState& state) {
  // Models stay while the server runs; Ollama's clients want a date.
  constexpr std::int64_t kYear = 365LL * 24 * 3600 * 1'000'000'000;
  std::vector<dialects::ollama::RunningModel> models;
  for (const ServedModel& served : state.registry.all()) {
    models.push_back({ollama_card(*served.model), format_rfc3339(unix_nanoseconds_now() + kYear)});
  }
  return json_response(dialects::ollama::render_ps(models));
}

HttpResponse ollama_show(const std::string& body, const ApiState& state) {
  const auto request = dialects::ollama::parse_show(body);
  if (!request.ok()) return render_error(Dialect::kOllama, request.status());
  const auto served = state.registry.find(request->model);
  if (!served.ok()) return render_error(Dialect::kOllama, served.status());
  return json_response(
      dialects::ollama::render_show(ollama_details(*served->model), request->verbose));
}

HttpResponse metrics(const ApiState& state) {
  const std::vector<ServedModel> served = state.registry.all();
  std::vector<ModelSnapshot> models;
  for (const ServedModel& one : served) {
    models.push_back({one.metrics.get(), one.model->engine->stats()});
  }
  const HttpCounters& counters = state.counters;
  const auto number = [](auto value) { return static_cast<double>(value); };
  const PlainSample samples[] = {
      {"http_connections", "gauge", "Open connections.", number(counters.num_connections.load())},
      {"http_requests_total", "counter", "Answered requests.",
       number(counters.num_requests.load())},
      {"http_client_errors_total", "counter", "Requests answered with a 4xx status.",
       number(counters.num_client_errors.load())},
      {"http_server_errors_total", "counter", "Requests answered with a 5xx status.",
       number(counters.num_server_errors.load())},
  };
  HttpResponse response = text_response(render_metrics(models, samples, state.vllm_metric_names));
  response.content_type = "text/plain; version=0.0.4; charset=utf-8";
  return response;
}

HttpResponse no_such_endpoint(const Route& route, const HttpRequest& request) {
  if (!route.known_path) {
    return render_error(route.dialect, not_found(fmt::format("there is no endpoint {} {}",
                                                             request.method, request.path)));
  }
  HttpResponse response = render_error(
      route.dialect,
      invalid_argument("", fmt::format("{} does not allow {}; allowed: {}", request.path,
                                       request.method, route.allowed_methods)));
  response.status = 405;
  response.headers.emplace_back("Allow", route.allowed_methods);
  return response;
}

}  // namespace

HttpResponse answer(const Route& route, const HttpRequest& request, const ApiState& state) {
  switch (route.endpoint) {
    case Endpoint::kHealth:
      return json_response(R"({"status":"ok"})");
    case Endpoint::kMetrics:
      return metrics(state);
    case Endpoint::kOpenAiModels:
      return openai_models(state);
    case Endpoint::kOpenAiModel:
      return openai_model(route.parameter, state);
    case Endpoint::kOllamaRoot:
      return text_response("Ollama is running");
    case Endpoint::kOllamaVersion:
      return json_response(dialects::ollama::render_version());
    case Endpoint::kOllamaTags:
      return ollama_tags(state);
    case Endpoint::kOllamaPs:
      return ollama_ps(state);
    case Endpoint::kOllamaShow:
      return ollama_show(request.body, state);
    default:
      return no_such_endpoint(route, request);
  }
}

HttpResponse ready_response(const Status& status) {
  if (status.ok()) return json_response(R"({"status":"ready"})");
  HttpResponse response = json_response(
      write_json(boost::json::object{{"status", "not ready"}, {"reason", status.message()}}));
  response.status = 503;
  response.headers.emplace_back("Retry-After", "1");
  return response;
}

}  // namespace tutti::server
