// `tutti engine`: the process that computes a model for the `tutti serve` that started it.
#include <memory>

#include "app/commands.h"
#include "base/cpu_limits.h"
#include "base/log.h"
#include "engine/channel/serve_channel.h"
#include "formats/model_source.h"
#include "model/description.h"
#include "store/engine_model.h"
#include "store/model_name.h"

namespace tutti::app {
namespace {

class LoadedEngine final : public engine::ServedEngine {
 public:
  // Heap-allocated, since the engine refers to the files.
  static Result<std::unique_ptr<engine::ServedEngine>> load(
      const store::LoadOptions& options, engine::StepObserver& observer,
      const std::function<void(double)>& progress) {
    const auto& root = options.ollama_root;
    TUTTI_ASSIGN_OR_RETURN(
        const store::ModelLocation location,
        store::resolve_model(options.model, root.empty() ? store::default_ollama_root() : root));
    TUTTI_ASSIGN_OR_RETURN(formats::ModelSource source, formats::ModelSource::open(location.path));
    std::unique_ptr<LoadedEngine> engine(new LoadedEngine(std::move(source)));
    TUTTI_ASSIGN_OR_RETURN(engine->description_, model::describe_model(engine->source_));
    TUTTI_ASSIGN_OR_RETURN(
        store::EngineModel model,
        store::load_engine_model(
            {.name = location.name, .source = engine->source_, .description = engine->description_},
            options, progress, &observer));
    engine->model_.emplace(std::move(model));
    return std::unique_ptr<engine::ServedEngine>(std::move(engine));
  }

  engine::EngineChannel& channel() override { return *model_->engine; }
  engine::HelloFrame hello() const override {
    return {.limits = {.max_model_len = model_->engine->max_model_len(),
                       .vocab_size = description_.vocab_size},
            .details = store::write_facts(model_->facts)};
  }

 private:
  explicit LoadedEngine(formats::ModelSource source) : source_(std::move(source)) {}

  formats::ModelSource source_;
  model::ModelDescription description_;
  std::optional<store::EngineModel> model_;
};

}  // namespace

int run_engine(const EngineOptions& options) {
  log::set_level(options.log_level);
  log::set_format(options.log_format);
  // A lone thread moves to whichever core is free.
  if (options.core_group >= 0 && options.model.threads > 1) {
    confine_process(options.model.threads, options.core_group);
  }
  const auto make = [&](engine::StepObserver& observer, const std::function<void(double)>& progress)
      -> Result<std::unique_ptr<engine::ServedEngine>> {
    try {
      TUTTI_ASSIGN_OR_RETURN(auto load, make_load_options(options.name, options.model));
      load.promised_bytes = options.promised_bytes;
      load.max_waiting = options.max_waiting;
      return LoadedEngine::load(load, observer, progress);
    } catch (const std::exception& error) {  // no memory, above all
      return Status(ErrorKind::kInternal, "loading " + options.name + " failed: " + error.what());
    }
  };
  return engine::serve_channel({.front = options.front_pid, .crash_report = options.crash_report},
                               make);
}

}  // namespace tutti::app
