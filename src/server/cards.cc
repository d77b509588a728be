#include "server/cards.h"

#include <fmt/format.h>

#include <chrono>
#include <ctime>
#include <sstream>

namespace tutti::server {
namespace {

constexpr std::int64_t kNanosecondsPerSecond = 1'000'000'000;

// "temperature      0.5" of each line becomes "PARAMETER temperature 0.5".
std::string parameter_commands(const std::string& lines) {
  std::string text;
  std::istringstream stream(lines);
  for (std::string key, value; stream >> key && std::getline(stream >> std::ws, value);) {
    text += fmt::format("PARAMETER {} {}\n", key, value);
  }
  return text;
}

// A Modelfile that would give the same model.
std::string modelfile_of(const store::ModelInfo& info) {
  std::string text = fmt::format("FROM {}\n", info.name);
  if (!info.chat_template.empty()) {
    text += fmt::format("TEMPLATE \"\"\"{}\"\"\"\n", info.chat_template);
  }
  if (!info.system.empty()) text += fmt::format("SYSTEM \"\"\"{}\"\"\"\n", info.system);
  text += parameter_commands(info.parameters);
  if (!info.license.empty()) text += fmt::format("LICENSE \"\"\"{}\"\"\"\n", info.license);
  return text;
}

}  // namespace

std::string short_name(const std::string& name) {
  constexpr std::string_view kDefaultTag = ":latest";
  return name.ends_with(kDefaultTag) ? name.substr(0, name.size() - kDefaultTag.size()) : name;
}

dialects::openai::ModelCard openai_card(const store::LoadedModel& model) {
  dialects::openai::ModelCard card;
  card.id = short_name(model.info.name);
  card.created_unix_seconds = model.info.modified_unix_seconds;
  card.max_model_len = model.engine->max_model_len();
  return card;
}

dialects::ollama::ModelCard ollama_card(const store::LoadedModel& model) {
  const store::ModelInfo& info = model.info;
  dialects::ollama::ModelCard card;
  card.name = dialects::ollama::canonical_name(info.name);
  card.modified_at = format_rfc3339(info.modified_unix_seconds * kNanosecondsPerSecond);
  card.size_bytes = info.size_bytes;
  card.digest = info.digest;
  card.format = info.format;
  card.family = info.family;
  card.parameter_size = info.parameter_size;
  card.quantization_level = info.quantization_level;
  card.context_length = model.engine->max_model_len();
  card.embedding_length = info.embedding_length;
  card.capabilities = info.capabilities;
  return card;
}

dialects::ollama::ModelDetails ollama_details(const store::LoadedModel& model) {
  const store::ModelInfo& info = model.info;
  dialects::ollama::ModelDetails details;
  details.card = ollama_card(model);
  details.license = info.license;
  details.modelfile = modelfile_of(info);
  details.parameters = info.parameters;
  details.chat_template = info.chat_template;
  details.system = info.system;
  details.model_info = info.metadata;
  details.tensors = info.tensors;
  return details;
}

std::string format_rfc3339(std::int64_t unix_nanoseconds) {
  const auto seconds = static_cast<std::time_t>(unix_nanoseconds / kNanosecondsPerSecond);
  std::tm utc{};
  gmtime_r(&seconds, &utc);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:09}Z", utc.tm_year + 1900,
                     utc.tm_mon + 1, utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec,
                     unix_nanoseconds % kNanosecondsPerSecond);
}

std::int64_t unix_nanoseconds_now() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

}  // namespace tutti::server
