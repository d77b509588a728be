// Ollama's API (docs/api.md of Ollama). Unknown keys of `options` are ignored, as Ollama does,
// and reported in `warnings`; other unknown fields are refused.
#pragma once

#include "base/json.h"
#include "dialects/dialect.h"

namespace tutti::dialects::ollama {

// `warnings` may be null; one entry for each ignored option.
Result<ParsedRequest> parse_chat(std::string_view body, std::vector<std::string>* warnings);
Result<ParsedRequest> parse_generate(std::string_view body, std::vector<std::string>* warnings);

struct ShowRequest {
  std::string model;
  bool verbose = false;
};
Result<ShowRequest> parse_show(std::string_view body);

struct ModelCard {
  std::string name;         // with its tag, e.g. "demo:latest"
  std::string modified_at;  // RFC 3339
  std::int64_t size_bytes = 0;
  std::string digest;              // 64 hex digits, no prefix
  std::string format;              // "gguf" | "safetensors"
  std::string family;              // architecture
  std::string parameter_size;      // "7.3M", "1.1B"
  std::string quantization_level;  // "BF16", "Q4_0", "Q4_K_M" …
  int context_length = 0;
  int embedding_length = 0;
  std::vector<std::string> capabilities;  // "completion" …
};
std::string render_tags(const std::vector<ModelCard>& models);
struct RunningModel {
  ModelCard card;
  std::string expires_at;
};
std::string render_ps(const std::vector<RunningModel>& models);

struct ModelDetails {
  ModelCard card;
  std::string license, modelfile, parameters, chat_template, system;
  json::object model_info;  // GGUF-style keys: general.architecture, <arch>.block_count …
  json::array tensors;      // {name, type, shape}; shown when verbose
};
std::string render_show(const ModelDetails& details, bool verbose);
std::string render_version();

// {"error": message}
HttpError render_error(const Status& status);

// "name" -> "name:latest"; drops a leading "registry.ollama.ai/" and then a leading "library/",
// which are the defaults of a name's first two parts.
std::string canonical_name(std::string_view name);

}  // namespace tutti::dialects::ollama
