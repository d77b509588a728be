#include "server/model_registry.h"

#include <fmt/format.h>

#include "dialects/ollama.h"

namespace tutti::server {

void ModelRegistry::add(std::shared_ptr<store::LoadedModel> model) {
  auto metrics = std::make_shared<ModelMetrics>(
      model->info.name, model->engine->max_model_len(),
      CacheConfig{model->facts.kv_dtype, model->facts.use_prefix_cache});
  const std::lock_guard lock(mutex_);
  models_.push_back({std::move(model), std::move(metrics)});
}

void ModelRegistry::set_loading_done(bool succeeded, std::string reason) {
  const std::lock_guard lock(mutex_);
  loading_ = succeeded ? Loading::kDone : Loading::kFailed;
  reason_ = std::move(reason);
}

Result<ServedModel> ModelRegistry::find(const std::string& name) const {
  const std::string canonical = dialects::ollama::canonical_name(name);
  const std::lock_guard lock(mutex_);
  if (name.empty() && models_.size() > 1) {
    return invalid_argument("model", fmt::format("model is missing; it may be absent only when one "
                                                 "model is served, and there are {}",
                                                 models_.size()));
  }
  for (const ServedModel& served : models_) {
    const store::ModelInfo& info = served.model->info;
    if (name.empty() || info.name == name || info.typed == name ||
        dialects::ollama::canonical_name(info.name) == canonical) {
      return served;
    }
  }
  if (loading_ == Loading::kRunning) {
    return Status(ErrorKind::kUnavailable, "the model is loading, please try again");
  }
  return Status(ErrorKind::kNotFound, fmt::format("model '{}' not found", name), "model");
}

std::vector<ServedModel> ModelRegistry::all() const {
  const std::lock_guard lock(mutex_);
  return models_;
}

Status ModelRegistry::loading_status() const {
  const std::lock_guard lock(mutex_);
  if (loading_ == Loading::kDone) return {};
  return {ErrorKind::kUnavailable,
          loading_ == Loading::kRunning ? "loading" : "loading failed: " + reason_};
}

}  // namespace tutti::server
