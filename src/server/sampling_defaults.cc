#include "server/sampling_defaults.h"

#include <algorithm>
#include <optional>
#include <type_traits>

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

using Given = Request::Given;

template <auto Field>
void set(double number, Request& request) {
  using Type = std::remove_reference_t<decltype(request.sampling.*Field)>;
  request.sampling.*Field = static_cast<Type>(number);
}

// 0 means what it does in a request's options: the most probable token alone.
template <auto Field>
void set_probability(double number, Request& request) {
  constexpr double kOnlyTheBest = 1e-9;
  request.sampling.*Field = std::max(number, kOnlyTheBest);
}

// One number of a Modelfile's parameters, with the range of the option of the same name.
struct Parameter {
  std::string_view name;
  double low, high;
  bool Given::*given;  // by the client
  void (*set)(double number, Request& request);
};

constexpr double kMaxCount = 1e9;

constexpr Parameter kParameters[] = {
    {"temperature", 0, 100, &Given::temperature, set<&SamplingParams::temperature>},
    {"top_k", -1, kMaxCount, &Given::top_k, set<&SamplingParams::top_k>},
    {"top_p", 0, 1, &Given::top_p, set_probability<&SamplingParams::top_p>},
    {"min_p", 0, 1, &Given::min_p, set<&SamplingParams::min_p>},
    {"typical_p", 0, 1, &Given::typical_p, set_probability<&SamplingParams::typical_p>},
    {"repeat_penalty", 1e-9, 100, &Given::repeat_penalty, set<&SamplingParams::repeat_penalty>},
    {"repeat_last_n", -1, kMaxCount, &Given::repeat_last_n, set<&SamplingParams::repeat_last_n>},
    {"presence_penalty", -2, 2, &Given::presence_penalty, set<&SamplingParams::presence_penalty>},
    {"frequency_penalty", -2, 2, &Given::frequency_penalty,
     set<&SamplingParams::frequency_penalty>},
    {"num_predict", 1, kMaxCount, &Given::max_tokens, set<&SamplingParams::max_tokens>},
    {"num_keep", -1, kMaxCount, &Given::keep_tokens,
     [](double number, Request& request) {
       request.truncate_keep_tokens = static_cast<int>(number);
     }},
    {"seed", 0, 9e15, &Given::seed,
     [](double number, Request& request) {
       request.sampling.seed = static_cast<std::uint64_t>(number);
       request.given.seed = true;
     }},
};

constexpr std::string_view kStop = "stop";

std::optional<double> number_in(const json::object& object, const Parameter& parameter) {
  const json::value* value = object.if_contains(parameter.name);
  if (!value || !value->is_number()) return std::nullopt;
  const double number = value->to_number<double>();
  if (!(number >= parameter.low && number <= parameter.high)) return std::nullopt;
  return number;
}

void apply_ollama_parameters(const json::object& parameters, Request& request) {
  for (const Parameter& parameter : kParameters) {
    const auto number = number_in(parameters, parameter);
    if (number && !(request.given.*parameter.given)) parameter.set(*number, request);
  }
  const json::value* stop = parameters.if_contains(kStop);
  if (request.given.stop || !stop) return;
  if (stop->is_string()) request.stop.push_back(json::value_to<std::string>(*stop));
  if (!stop->is_array()) return;
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

std::vector<std::string> unused_parameters(const boost::json::object& parameters) {
  std::vector<std::string> unused;
  for (const auto& entry : parameters) {
    const std::string_view key = entry.key();
    const bool used = key == kStop || std::ranges::find(kParameters, key, &Parameter::name) !=
                                          std::end(kParameters);
    if (!used) unused.emplace_back(key);
  }
  return unused;
}

}  // namespace tutti::server
