#include "server/sampling_defaults.h"

#include <algorithm>
#include <optional>

namespace tutti::server {
namespace {

namespace json = boost::json;

void apply_generation_config(const formats::GenerationConfig& config, Request& request) {
  SamplingParams& sampling = request.sampling;
  const Request::Given& given = request.given;
  if (config.temperature && !given.temperature) sampling.temperature = *config.temperature;
  if (config.top_k && !given.top_k) sampling.top_k = *config.top_k;
  if (config.top_p && !given.top_p) sampling.top_p = *config.top_p;
  if (config.min_p && !given.min_p) sampling.min_p = *config.min_p;
  if (config.repetition_penalty && !given.repeat_penalty) {
    sampling.repeat_penalty = *config.repetition_penalty;
  }
  if (config.max_new_tokens && *config.max_new_tokens > 0 && !given.max_tokens &&
      sampling.max_tokens == kUnlimitedTokens) {
    sampling.max_tokens =
        static_cast<int>(std::min<std::int64_t>(*config.max_new_tokens, kUnlimitedTokens));
  }
}

std::optional<double> number_in(const json::object& object, std::string_view key, double low,
                                double high) {
  const json::value* value = object.if_contains(key);
  if (!value || !value->is_number()) return std::nullopt;
  const double number = value->to_number<double>();
  if (!(number >= low && number <= high)) return std::nullopt;
  return number;
}

void apply_ollama_parameters(const json::object& parameters, Request& request) {
  SamplingParams& sampling = request.sampling;
  const Request::Given& given = request.given;
  const auto set = [&](bool is_given, std::string_view key, double low, double high, auto& field) {
    const auto number = number_in(parameters, key, low, high);
    if (!is_given && number) field = static_cast<std::decay_t<decltype(field)>>(*number);
  };
  set(given.temperature, "temperature", 0, 100, sampling.temperature);
  set(given.top_k, "top_k", 0, 1e9, sampling.top_k);
  set(given.top_p, "top_p", 1e-9, 1, sampling.top_p);
  set(given.min_p, "min_p", 0, 1, sampling.min_p);
  set(given.repeat_penalty, "repeat_penalty", 1e-9, 100, sampling.repeat_penalty);
  set(given.max_tokens, "num_predict", 1, 1e9, sampling.max_tokens);
  if (const auto seed = number_in(parameters, "seed", 0, 9e15); seed && !given.seed) {
    sampling.seed = static_cast<std::uint64_t>(*seed);
    request.given.seed = true;
  }
  const json::value* stop = parameters.if_contains("stop");
  if (!request.stop.empty() || !stop || !stop->is_array()) return;
  for (const json::value& text : stop->get_array()) {
    if (text.is_string()) request.stop.push_back(json::value_to<std::string>(text));
  }
}

}  // namespace

void apply_defaults(DefaultsFrom from, const store::LoadedModel& model, Request& request) {
  if (from == DefaultsFrom::kGenerationConfig) {
    apply_generation_config(model.generation_config, request);
  }
  apply_ollama_parameters(model.ollama_parameters, request);
}

}  // namespace tutti::server
