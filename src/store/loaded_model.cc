#include "store/loaded_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <set>

#include "base/cpu_limits.h"
#include "base/json.h"
#include "base/log.h"
#include "formats/model_source.h"
#include "model/description.h"
#include "model/model.h"
#include "store/model_info.h"
#include "store/model_text.h"
#include "text/chat_template.h"
#include "text/go_template.h"
#include "text/tokenizer.h"

namespace tutti::store {
namespace {

// Shares of the progress bar before and after the weights.
constexpr double kProgressBeforeWeights = 0.05;
constexpr double kProgressAfterWeights = 0.95;

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

MemoryNeeds needs_before_loading(const LoadOptions& options, const LoadedModel& model,
                                 const model::ModelDescription& description) {
  MemoryNeeds needs;
  const std::size_t available = available_memory();
  needs.available = available - std::min(available, options.promised_bytes);
  needs.weights = total_tensor_bytes(*model.source);
  needs.kv_block = model.ops->kv_block_bytes(
      {description.num_layers, description.num_kv_heads, description.head_dim});
  needs.model_context = description.max_positions;
  needs.max_model_len = options.max_model_len;
  needs.kv_cache_bytes = options.kv_cache_bytes;
  needs.max_running = options.max_running;
  return needs;
}

// Weights and the memory plan. The plan is made twice: from the files' sizes, so that what cannot
// fit is refused before anything is read; and from what the loaded model really takes.
Status load_weights(const LoadOptions& options, const model::ModelDescription& description,
                    const LoadProgress& progress, LoadedModel& model) {
  // The loading thread works on the pool here, and starts the engine's thread afterwards.
  const ScopedBinding binding;
  MemoryNeeds needs = needs_before_loading(options, model, description);
  TUTTI_ASSIGN_OR_RETURN(const MemoryPlan estimate, plan_memory(needs));
  const auto share = [&progress](double fraction) {
    if (!progress) return;
    progress(kProgressBeforeWeights + fraction * (kProgressAfterWeights - kProgressBeforeWeights));
  };
  TUTTI_ASSIGN_OR_RETURN(
      model.model, model::Model::load(*model.source, *model.ops, share, estimate.max_model_len));
  needs.weights = model.model->owned_bytes() + model.model->mapped_bytes();
  needs.scratch = model.model->scratch_bytes(std::max(options.token_budget, options.max_running),
                                             options.max_running);
  // The scratch is known now: a context that nobody asked for may shrink once more.
  needs.model_context = estimate.max_model_len;
  TUTTI_ASSIGN_OR_RETURN(model.plan, plan_memory(needs));
  if (model.plan.max_model_len < description.max_positions && options.max_model_len == 0) {
    log::warn(
        "{}: the context is {} tokens in place of the model's {}: the cache has no room for "
        "more",
        model.info.name, model.plan.max_model_len, description.max_positions);
  }
  model.promised_bytes = model.plan.kv_cache() + model.plan.scratch + model.model->mapped_bytes();
  return {};
}

Status start(const LoadOptions& options, LoadedModel& model) {
  engine::EngineOptions engine_options;
  engine_options.max_model_len = model.plan.max_model_len;
  engine_options.num_blocks = model.plan.num_blocks;
  engine_options.token_budget = options.token_budget;
  engine_options.max_running = options.max_running;
  engine_options.max_waiting = options.max_waiting;
  engine_options.target_itl = options.target_itl;
  engine_options.use_prefix_cache = options.use_prefix_cache;
  TUTTI_ASSIGN_OR_RETURN(model.engine,
                         engine::start_engine(*model.model, *model.ops, engine_options));
  return {};
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

Result<std::shared_ptr<LoadedModel>> load(LoadOptions options, const LoadProgress& progress) {
  const TimePoint started = SteadyClock::now();
  if (progress) progress(0);
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
  TUTTI_ASSIGN_OR_RETURN(const model::ModelDescription description,
                         model::describe_model(*model->source));
  TUTTI_RETURN_IF_ERROR(limit_max_model_len(location.name, description, options));
  TUTTI_RETURN_IF_ERROR(load_text(location, *model));
  if (progress) progress(kProgressBeforeWeights);
  TUTTI_ASSIGN_OR_RETURN(model->ops, device::Ops::create(ops_options(options, *model->source)));
  TUTTI_RETURN_IF_ERROR(load_weights(options, description, progress, *model));
  model->vocab_size = description.vocab_size;
  model->end_tokens = find_end_tokens(*model, description);
  fill_info(location, *model->source, description, model->info);
  model->info.metadata["tutti.compute"] = device::to_string(model->ops->compute_class());
  model->info.metadata["tutti.isa"] = device::to_string(model->ops->isa());
  model->info.chat_template =
      model->go_template ? location.go_template : model->chat_template->source();
  TUTTI_RETURN_IF_ERROR(start(options, *model));
  model->load_duration = SteadyClock::now() - started;
  if (progress) progress(1);
  return model;
}

}  // namespace

LoadedModel::LoadedModel() = default;
LoadedModel::~LoadedModel() = default;

device::Ops::Options ops_options(const LoadOptions& options, const formats::ModelSource& source) {
  device::Ops::Options chosen = options.ops;
  if (options.choose_compute_class) {
    chosen.compute_class = device::choose_compute_class(source.tensors(), chosen.isa);
  }
  return chosen;
}

Result<std::shared_ptr<LoadedModel>> load_model(const LoadOptions& options,
                                                const LoadProgress& progress) {
  try {
    return load(options, progress);
  } catch (const std::exception& error) {  // no memory, above all
    return Status(ErrorKind::kInternal,
                  fmt::format("loading {} failed: {}", options.model, error.what()));
  }
}

}  // namespace tutti::store
