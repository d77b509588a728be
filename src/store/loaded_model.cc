#include "store/loaded_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <set>

#include "base/json.h"
#include "base/log.h"
#include "engine/channel/engine_process.h"
#include "formats/model_source.h"
#include "model/description.h"
#include "model/model.h"
#include "store/model_info.h"
#include "store/model_text.h"
#include "store/plan_model.h"
#include "text/chat_template.h"
#include "text/go_template.h"
#include "text/tokenizer.h"

namespace tutti::store {
namespace {

// The share of the progress bar before the engine's.
constexpr double kProgressBeforeEngine = 0.05;

LoadProgress rest_of(const LoadProgress& progress) {
  if (!progress) return {};
  return [&progress](double fraction) {
    progress(kProgressBeforeEngine + fraction * (1 - kProgressBeforeEngine));
  };
}

Status failure(const LoadOptions& options, const std::exception& error) {  // no memory, above all
  return {ErrorKind::kInternal, fmt::format("loading {} failed: {}", options.model, error.what())};
}

// Ends of a turn that a GGUF's metadata may fail to name.
constexpr const char* kTurnEnds[] = {"<|im_end|>", "<|eot_id|>",    "<|end|>",
                                     "<|eot|>",    "<end_of_turn>", "<|end_of_text|>",
                                     "<|return|>", "<|endoftext|>"};

std::vector<TokenId> find_end_tokens(const LoadedModel& model,
                                     const model::ModelDescription& description) {
  std::set<TokenId> ends(description.eos_token_ids.begin(), description.eos_token_ids.end());
  ends.insert(model.generation_config.eos_token_ids.begin(),
              model.generation_config.eos_token_ids.end());
  if (const auto eos = model.tokenizer->eos_id()) ends.insert(*eos);
  if (description.from_gguf) {
    for (const char* text : kTurnEnds) {
      const auto id = model.tokenizer->token_to_id(text);
      if (id && model.tokenizer->is_special(*id)) ends.insert(*id);
    }
  }
  std::erase_if(ends, [&](TokenId id) { return id < 0 || id >= description.vocab_size; });
  return {ends.begin(), ends.end()};
}

// The layers of an Ollama manifest beside the weights.
Status apply_manifest(const ModelLocation& location, LoadedModel& model) {
  if (!location.parameters_json.empty()) {
    auto parameters = parse_json(location.parameters_json);
    if (!parameters.ok()) return parameters.status().with_context("the manifest's parameters");
    if (parameters->is_object()) model.ollama_parameters = parameters->get_object();
  }
  if (location.go_template.empty()) return {};
  auto parsed = text::GoTemplate::parse(location.go_template);
  if (parsed.ok()) {
    model.go_template = std::make_unique<text::GoTemplate>(std::move(*parsed));
  } else {
    log::warn("{}: the store's template is not understood ({}); the model's own is used",
              model.info.name, parsed.status().message());
  }
  return {};
}

Status load_text(const ModelLocation& location, LoadedModel& model) {
  TUTTI_ASSIGN_OR_RETURN(model.tokenizer, load_tokenizer(*model.source));
  TUTTI_RETURN_IF_ERROR(apply_manifest(location, model));
  if (model.go_template && !model.source->chat_template()) {
    // Nobody renders with it, but it is never null.
    TUTTI_ASSIGN_OR_RETURN(auto chatml, text::ChatTemplate::parse(text::default_chatml_template()));
    model.chat_template = std::make_unique<text::ChatTemplate>(std::move(chatml));
  } else {
    TUTTI_ASSIGN_OR_RETURN(model.chat_template, load_chat_template(*model.source));
  }
  model.template_variables = special_token_variables(*model.tokenizer);
  model.generation_config = model.source->generation_config();
  return {};
}

// All but the engine.
struct Front {
  std::shared_ptr<LoadedModel> model;
  model::ModelDescription description;
};

Result<Front> load_front(const LoadOptions& options) {
  const auto& root = options.ollama_root;
  TUTTI_ASSIGN_OR_RETURN(const ModelLocation location,
                         resolve_model(options.model, root.empty() ? default_ollama_root() : root));
  auto model = std::make_shared<LoadedModel>();
  model->info.name = location.name;
  model->info.typed = options.model;
  TUTTI_ASSIGN_OR_RETURN(formats::ModelSource source, formats::ModelSource::open(location.path));
  model->source = std::make_unique<formats::ModelSource>(std::move(source));
  for (const std::string& warning : model->source->generation_config().warnings) {
    log::warn("{}: {}", location.name, warning);
  }
  TUTTI_ASSIGN_OR_RETURN(model::ModelDescription description,
                         model::describe_model(*model->source));
  TUTTI_RETURN_IF_ERROR(load_text(location, *model));
  model->vocab_size = description.vocab_size;
  model->end_tokens = find_end_tokens(*model, description);
  fill_info(location, *model->source, description, model->info);
  model->info.chat_template =
      model->go_template ? location.go_template : model->chat_template->source();
  return Front{std::move(model), std::move(description)};
}

void take_facts(EngineFacts facts, LoadedModel& model) {
  model.info.metadata["tutti.compute"] = facts.compute_class;
  model.info.metadata["tutti.isa"] = facts.isa;
  model.facts = std::move(facts);
}

Result<std::shared_ptr<LoadedModel>> load(const LoadOptions& options,
                                          const LoadProgress& progress) {
  const TimePoint started = SteadyClock::now();
  if (progress) progress(0);
  TUTTI_ASSIGN_OR_RETURN(Front front, load_front(options));
  if (progress) progress(kProgressBeforeEngine);
  LoadedModel& model = *front.model;
  TUTTI_ASSIGN_OR_RETURN(EngineModel engine, load_engine_model({.name = model.info.name,
                                                                .source = *model.source,
                                                                .description = front.description},
                                                               options, rest_of(progress)));
  model.ops = std::move(engine.ops);
  model.model = std::move(engine.model);
  model.engine = std::move(engine.engine);
  take_facts(std::move(engine.facts), model);
  model.load_duration = SteadyClock::now() - started;
  if (progress) progress(1);
  return std::move(front.model);
}

Result<std::shared_ptr<LoadedModel>> start_remote(const LoadOptions& options,
                                                  const RemoteEngine& remote,
                                                  const LoadProgress& progress) {
  const TimePoint started = SteadyClock::now();
  if (progress) progress(0);
  TUTTI_ASSIGN_OR_RETURN(Front front, load_front(options));
  if (progress) progress(kProgressBeforeEngine);
  LoadedModel& model = *front.model;
  engine::EngineProcessOptions process;
  process.name = model.info.name;
  process.arguments = remote.arguments(options);
  process.restart_arguments = [options, remote](const engine::HelloFrame& hello) {
    LoadOptions same = options;
    if (const auto facts = read_facts(hello.details); facts.ok()) {
      same.max_model_len = facts->plan.max_model_len;
      same.kv_cache_bytes = facts->plan.kv_cache();
    }
    return remote.arguments(same);
  };
  process.max_running = options.max_running;
  process.max_waiting = options.max_waiting;
  process.crash_dir = remote.crash_dir;
  TUTTI_ASSIGN_OR_RETURN(engine::StartedProcess engine,
                         engine::start_engine_process(std::move(process), rest_of(progress)));
  TUTTI_ASSIGN_OR_RETURN(EngineFacts facts, read_facts(engine.hello.details));
  model.engine = std::move(engine.channel);
  take_facts(std::move(facts), model);
  model.load_duration = SteadyClock::now() - started;
  if (progress) progress(1);
  return std::move(front.model);
}

}  // namespace

LoadedModel::LoadedModel() = default;
LoadedModel::~LoadedModel() = default;

Result<std::shared_ptr<LoadedModel>> load_model(const LoadOptions& options,
                                                const LoadProgress& progress) {
  try {
    return load(options, progress);
  } catch (const std::exception& error) {
    return failure(options, error);
  }
}

Result<std::shared_ptr<LoadedModel>> start_model(const LoadOptions& options,
                                                 const RemoteEngine& remote,
                                                 const LoadProgress& progress) {
  try {
    return start_remote(options, remote, progress);
  } catch (const std::exception& error) {
    return failure(options, error);
  }
}

}  // namespace tutti::store
