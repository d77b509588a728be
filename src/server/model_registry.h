// The models that are served, by name.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/result.h"
#include "server/metrics.h"
#include "store/loaded_model.h"

namespace tutti::server {

struct ServedModel {
  std::shared_ptr<store::LoadedModel> model;
  std::shared_ptr<ModelMetrics> metrics;
};

// Thread safety: every member may be called from any thread.
class ModelRegistry {
 public:
  void add(std::shared_ptr<store::LoadedModel> model);
  // No more will come. `reason` says why when loading failed.
  void set_loading_done(bool succeeded, std::string reason);

  // By its name with or without ":latest", or as it was typed on the command line; an empty name is
  // the model when there is only one. Errors: kInvalidArgument for an empty name when there are
  // several; kNotFound; kUnavailable while models are still loading.
  Result<ServedModel> find(const std::string& name) const;
  std::vector<ServedModel> all() const;

  // Ok once all models are loaded; else kUnavailable with the reason.
  Status loading_status() const;

 private:
  enum class Loading { kRunning, kDone, kFailed };

  mutable std::mutex mutex_;
  std::vector<ServedModel> models_;
  Loading loading_ = Loading::kRunning;
  std::string reason_;
};

}  // namespace tutti::server
