#include "store/engine_model.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/cpu_limits.h"
#include "base/log.h"
#include "base/thread_pool.h"
#include "device/repack_cache.h"
#include "formats/model_source.h"
#include "model/description.h"
#include "model/model.h"
#include "store/plan_model.h"
#include "store/spill_plan.h"

namespace tutti::store {
namespace {

// The share of the progress that the weights end at.
constexpr double kProgressAfterWeights = 0.95;

std::size_t total_tensor_bytes(const formats::ModelSource& source) {
  std::size_t total = 0;
  for (const TensorView& tensor : source.tensors()) total += tensor.bytes.size();
  return total;
}

// One context length may be set for all models (OLLAMA_CONTEXT_LENGTH): a model takes what it can.
Status limit_max_model_len(const std::string& name, const model::ModelDescription& description,
                           LoadOptions& options) {
  if (options.max_model_len < 0) {
    return invalid_argument("max_model_len", fmt::format("max_model_len is {}, must be at least 0",
                                                         options.max_model_len));
  }
  if (options.max_model_len > description.max_positions) {
    log::warn("{}: the context is {} tokens in place of {}: the model was made for no more", name,
              description.max_positions, options.max_model_len);
    options.max_model_len = description.max_positions;
  }
  return {};
}

// Weights and the memory plan. The plan is made twice: from the files' sizes, so that what cannot
// fit is refused before anything is read; and from what the loaded model really takes.
Status load_weights(const LoadOptions& options, const EngineSource& files,
                    const LoadProgress& progress, EngineModel& model) {
  // The loading thread works on the pool here, and starts the engine's thread afterwards.
  const ScopedBinding binding;
  MemoryNeeds needs = needs_before_loading(options, files.source, files.description, *model.ops);
  TUTTI_ASSIGN_OR_RETURN(const MemoryPlan estimate, plan_memory(needs));
  const auto share = [&progress](double fraction) {
    if (progress) progress(fraction * kProgressAfterWeights);
  };
  TUTTI_ASSIGN_OR_RETURN(
      model.model, model::Model::load(files.source, *model.ops, share, estimate.max_model_len));
  needs.weights = model.model->owned_bytes() + model.model->mapped_bytes();
  // The weights are known now: a context that nobody asked for may shrink once more.
  needs.model_context = estimate.max_model_len;
  TUTTI_ASSIGN_OR_RETURN(model.facts.plan, plan_memory(needs));
  if (model.facts.plan.max_model_len < files.description.max_positions &&
      options.max_model_len == 0) {
    log::warn(
        "{}: the context is {} tokens in place of the model's {}: the cache has no room for "
        "more",
        files.name, model.facts.plan.max_model_len, files.description.max_positions);
  }
  model.facts.promised_bytes = model.facts.plan.kv_cache() + model.facts.plan.scratch +
                               model.facts.plan.spill + model.model->mapped_bytes();
  return {};
}

// Counts the changes of the layouts of repacked weights.
constexpr int kRepackLayout = 2;

// What a model's weights were read from: another size or time of change is another model.
std::string file_identity(const std::filesystem::path& path, const formats::ModelSource& source) {
  std::error_code error;
  const auto changed = std::filesystem::last_write_time(path, error).time_since_epoch();
  return fmt::format("{} bytes in {} tensors, changed at {}", total_tensor_bytes(source),
                     source.tensors().size(), changed.count());
}

// With the context that the engine gets, on which the bits of some models depend.
engine::SpillOptions spill_options(const LoadOptions& options, const EngineSource& files,
                                   const SpillPlan& plan, const EngineModel& model) {
  LoadOptions resolved = options;
  resolved.max_model_len = model.facts.plan.max_model_len;
  return {.file = plan.file,
          .max_bytes = plan.max_bytes,
          .identity = spill_identity(files.source, files.description, *model.ops, resolved),
          .open_storage = {}};
}

Status start(const LoadOptions& options, const EngineSource& files, engine::StepObserver* observer,
             EngineModel& model) {
  engine::EngineOptions engine_options;
  engine_options.max_model_len = model.facts.plan.max_model_len;
  engine_options.num_blocks = model.facts.plan.num_blocks;
  engine_options.token_budget = options.token_budget;
  engine_options.max_running = options.max_running;
  engine_options.max_waiting = options.max_waiting;
  engine_options.target_itl = options.target_itl;
  engine_options.use_prefix_cache = options.use_prefix_cache;
  if (const auto spill = plan_spill(options, files.source.path(), model.facts.plan.kv_block)) {
    engine_options.spill = spill_options(options, files, *spill, model);
  }
  TUTTI_ASSIGN_OR_RETURN(model.engine,
                         engine::start_engine(*model.model, *model.ops, engine_options, observer));
  return {};
}

}  // namespace

EngineModel::EngineModel() = default;
EngineModel::EngineModel(EngineModel&&) noexcept = default;
EngineModel::~EngineModel() = default;

device::Ops::Options ops_options(const LoadOptions& options, const formats::ModelSource& source) {
  device::Ops::Options chosen = options.ops;
  if (options.choose_compute_class) {
    chosen.compute_class = device::choose_compute_class(source.tensors(), chosen.isa);
  }
  const bool repacks = chosen.compute_class == device::ComputeClass::kInt8 ||
                       chosen.compute_class == device::ComputeClass::kQ8;
  if (options.repack_cache && repacks) {
    const char* compute = device::to_string(chosen.compute_class);
    std::filesystem::path path = source.path();
    path += fmt::format(".{}-cache", compute);
    chosen.repack_cache = std::make_shared<device::RepackCache>(
        path, fmt::format("{} layout {}: {}", compute, kRepackLayout,
                          file_identity(source.path(), source)));
  }
  return chosen;
}

Result<EngineModel> load_engine_model(const EngineSource& files, LoadOptions options,
                                      const LoadProgress& progress,
                                      engine::StepObserver* observer) {
  EngineModel model;
  TUTTI_RETURN_IF_ERROR(limit_max_model_len(files.name, files.description, options));
  TUTTI_ASSIGN_OR_RETURN(model.ops, device::Ops::create(ops_options(options, files.source)));
  TUTTI_RETURN_IF_ERROR(load_weights(options, files, progress, model));
  model.facts.compute_class = device::to_string(model.ops->compute_class());
  model.facts.isa = device::to_string(model.ops->isa());
  model.facts.num_threads = model.ops->pool().num_threads();
  model.facts.kv_dtype = device::to_string(options.ops.kv_dtype);
  model.facts.use_prefix_cache = options.use_prefix_cache;
  TUTTI_RETURN_IF_ERROR(start(options, files, observer, model));
  if (progress) progress(1);
  return model;
}

}  // namespace tutti::store
