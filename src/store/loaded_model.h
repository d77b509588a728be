// A model that is in memory and served: files, tokenizer, templates, weights and engine.
#pragma once

#include <boost/json/object.hpp>
#include <cstddef>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "device/ops.h"
#include "engine/engine.h"
#include "formats/generation_config.h"
#include "store/engine_model.h"
#include "store/memory_plan.h"
#include "store/model_name.h"

namespace tutti::formats {
class ModelSource;
}
namespace tutti::model {
class Model;
}
namespace tutti::text {
class ChatTemplate;
class GoTemplate;
class Tokenizer;
}  // namespace tutti::text

namespace tutti::store {

// What the lists and cards of the dialects show.
struct ModelInfo {
  std::string name;    // canonical, with its tag: "demo:latest"
  std::string typed;   // as it was asked for on the command line; may be empty
  std::string digest;  // 64 hex digits; a hash of the header and the size, not of all weights,
                       // unless the store knew it
  std::int64_t modified_unix_seconds = 0;
  std::int64_t size_bytes = 0;  // on disk
  std::string format;           // "gguf" | "safetensors"
  std::string family;           // architecture
  std::string parameter_size;   // "7.3M"
  std::string quantization_level;
  int context_length = 0;  // the model's own
  int embedding_length = 0;
  std::vector<std::string> capabilities;
  std::string license, system, parameters, chat_template;
  boost::json::object metadata;  // GGUF-style keys
  boost::json::array tensors;    // {name, type, shape}
};

// Thread safety: constant after it was loaded; the members that are pointers to const may be used
// from any thread, and so may `engine`.
struct LoadedModel {
  LoadedModel();
  ~LoadedModel();

  ModelInfo info;
  EngineFacts facts;
  Duration load_duration{};
  int vocab_size = 0;
  std::vector<TokenId> end_tokens;
  formats::GenerationConfig generation_config;
  // Ollama's `parameters` layer: defaults under the client's options.
  boost::json::object ollama_parameters;
  // bos_token, eos_token … for chat templates.
  boost::json::object template_variables;

  std::unique_ptr<formats::ModelSource> source;
  std::unique_ptr<text::Tokenizer> tokenizer;
  std::unique_ptr<text::ChatTemplate> chat_template;  // never null: ChatML when there is none
  std::unique_ptr<text::GoTemplate> go_template;      // from an Ollama store; else null
  std::unique_ptr<device::Ops> ops;                   // null when the engine is another process
  std::unique_ptr<model::Model> model;                // and so is this
  // Last: it is destroyed first, and its thread uses what stands above.
  std::unique_ptr<engine::EngineChannel> engine;
};

// Finds, checks and loads a model and starts its engine. Takes from milliseconds to minutes.
// Errors: those of resolve_model and of the files; kInvalidArgument with the numbers when weights,
// scratch and cache do not fit the memory.
Result<std::shared_ptr<LoadedModel>> load_model(const LoadOptions& options,
                                                const LoadProgress& progress = {});

// How an engine process is started.
struct RemoteEngine {
  // The command line, argv[0] included, of a process that loads a model's engine with these options
  // and serves it by engine::serve_channel with write_facts() as the hello's details.
  std::function<std::vector<std::string>(const LoadOptions&)> arguments;
  std::filesystem::path crash_dir;  // for reports of its deaths; empty: none
};

// As load_model, with the engine in a process of its own: here are only tokenizer, templates and
// descriptions. Errors: those of load_model, whichever process met them.
Result<std::shared_ptr<LoadedModel>> start_model(const LoadOptions& options,
                                                 const RemoteEngine& remote,
                                                 const LoadProgress& progress = {});

}  // namespace tutti::store
