// What computes a model: operations, weights and the engine on them. With `tutti serve` it lives in
// a process of its own, and only what facts says reaches the front.
#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/clock.h"
#include "base/result.h"
#include "device/ops.h"
#include "engine/engine.h"
#include "store/memory_plan.h"

namespace tutti::formats {
class ModelSource;
}
namespace tutti::model {
class Model;
struct ModelDescription;
}  // namespace tutti::model

namespace tutti::store {

struct LoadOptions {
  std::string model;                  // what was typed; empty: the demo model
  std::filesystem::path ollama_root;  // empty: default_ollama_root()
  device::Ops::Options ops;
  // The compute class is device::choose_compute_class's in place of ops.compute_class.
  bool choose_compute_class = false;
  // Repacked weights are kept in a file beside the model, and read from there.
  bool repack_cache = false;
  // 0: the model's own, or what fits. More than the model's own is lowered to it. Both with a
  // warning.
  int max_model_len = 0;
  std::size_t kv_cache_bytes = 0;  // 0: from the memory that is free
  std::size_t memory_limit = 0;    // plan as if no more were free; 0: what is
  double memory_fraction = 0;      // as MemoryNeeds::fraction
  int token_budget = 512;
  int max_running = 256;
  int max_waiting = 4096;
  std::optional<Duration> target_itl;  // as EngineOptions::target_itl
  bool use_prefix_cache = true;
  std::filesystem::path spill_dir;  // for the prefix cache's second tier; empty: none
  std::size_t spill_bytes = 0;      // of a model's file there; 0: see plan_spill
  // To others: request bodies, and EngineFacts::promised_bytes of the models loaded before.
  std::size_t promised_bytes = 0;
};

// What an engine tells about itself once it is loaded.
struct EngineFacts {
  MemoryPlan plan;
  // Planned but taken only when used, so that the system still counts it as free: cache, scratch
  // and mapped weights.
  std::size_t promised_bytes = 0;
  std::string compute_class, isa;
  int num_threads = 0;
  std::string kv_dtype;  // of the cache
  bool use_prefix_cache = false;
};

// As one JSON object, to cross the channel.
std::string write_facts(const EngineFacts& facts);
// Errors: kCorrupt, naming the member.
Result<EngineFacts> read_facts(const std::string& json);

struct EngineModel {
  EngineModel();
  EngineModel(EngineModel&&) noexcept;
  ~EngineModel();

  EngineFacts facts;
  std::unique_ptr<device::Ops> ops;
  std::unique_ptr<model::Model> model;
  // Last: it is destroyed first, and its thread uses what stands above.
  std::unique_ptr<engine::EngineChannel> engine;
};

// Fraction done in [0, 1], called on the loading thread.
using LoadProgress = std::function<void(double)>;

// The files, described. They must outlive the engine.
struct EngineSource {
  std::string name;  // for the log
  const formats::ModelSource& source;
  const model::ModelDescription& description;
};

// Options for the Ops that a model is computed with.
device::Ops::Options ops_options(const LoadOptions& options, const formats::ModelSource& source);

// Plans the memory, loads the weights and starts the engine. `observer` may be null.
// Errors: those of the files; kInvalidArgument with the numbers when weights, scratch and cache do
// not fit the memory.
Result<EngineModel> load_engine_model(const EngineSource& files, LoadOptions options,
                                      const LoadProgress& progress = {},
                                      engine::StepObserver* observer = nullptr);

}  // namespace tutti::store
