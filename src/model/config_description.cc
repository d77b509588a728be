#include "model/config_description.h"

#include <fmt/format.h>

#include <array>
#include <boost/json.hpp>
#include <cmath>

#include "formats/display.h"
#include "formats/model_source.h"
#include "model/bounds.h"

namespace tutti::model {
namespace {

// Where a text model's tensors may be: alone, or within a checkpoint that has other parts too.
struct TensorPrefix {
  std::string_view body;
  std::string_view output;
};
constexpr std::array kTensorPrefixes = {
    TensorPrefix{"model.", "lm_head."},
    TensorPrefix{"language_model.model.", "language_model.lm_head."},
    TensorPrefix{"model.language_model.", "lm_head."},
    TensorPrefix{"model.text_model.", "lm_head."},
};

Result<TensorNames> find_tensor_names(const formats::ModelSource& source,
                                      const Architecture& architecture) {
  for (const TensorPrefix& prefix : kTensorPrefixes) {
    TensorNames names{.embedding = std::string(prefix.body) + "embed_tokens.weight",
                      .output_norm = std::string(prefix.body) + "norm.weight",
                      .output = std::string(prefix.output) + "weight",
                      .layer_prefix = std::string(prefix.body) + "layers.",
                      .layer = architecture.names};
    if (source.find_tensor(names.embedding) != nullptr) return names;
  }
  return corrupt("tensor model.embed_tokens.weight is missing");
}

std::string known_model_types() {
  std::string known;
  for (const Architecture& architecture : architectures()) {
    if (!known.empty()) known += ", ";
    known += architecture.model_type;
  }
  return known;
}

// A checkpoint may hold the same body with another head: a classifier, an embedder.
Status check_head(const boost::json::object& config) {
  const boost::json::value* classes = config.if_contains("architectures");
  if (classes == nullptr || !classes->is_array() || classes->get_array().empty()) return {};
  const boost::json::value& first = classes->get_array().front();
  if (!first.is_string()) return {};
  const std::string_view name = first.get_string();
  for (const std::string_view ending : {"ForCausalLM", "ForConditionalGeneration", "LMHeadModel"}) {
    if (name.ends_with(ending)) return {};
  }
  return unsupported(
      fmt::format("config.json: architecture {} does not generate text", formats::display(name)));
}

Result<const Architecture*> find_family(const boost::json::object& root, const ConfigReader& text) {
  TUTTI_ASSIGN_OR_RETURN(const std::string model_type, text.text("model_type"));
  const Architecture* architecture = find_architecture(model_type);
  if (architecture == nullptr) {
    return unsupported(
        fmt::format("{} is '{}', an architecture that is not supported (these are: "
                    "{})",
                    text.where("model_type"), formats::display(model_type), known_model_types()));
  }
  TUTTI_RETURN_IF_ERROR(check_head(root));
  return architecture;
}

Status check_settings(const ConfigReader& root, const ConfigReader& text) {
  for (const ConfigReader* config : {&root, &text}) {
    if (config->has("quantization_config")) {
      return unsupported(config->where("quantization_config") +
                         " is set: checkpoints quantised in this way are not supported");
    }
  }
  if (!text.has("hidden_act")) return {};
  TUTTI_ASSIGN_OR_RETURN(const std::string activation, text.text("hidden_act"));
  if (activation != "silu" && activation != "swish") {
    return unsupported(fmt::format("{} is '{}', only 'silu' is supported for this architecture",
                                   text.where("hidden_act"), formats::display(activation)));
  }
  return {};
}

Status read_sizes(const ConfigReader& config, ModelDescription& description) {
  for (const SizeParameter& size : kSizeParameters) {
    TUTTI_ASSIGN_OR_RETURN(description.*size.member,
                           config.integer(size.config_key, {1, size.max}));
  }
  TUTTI_ASSIGN_OR_RETURN(description.vocab_size, config.integer("vocab_size", {1, kMaxVocabulary}));
  TUTTI_ASSIGN_OR_RETURN(
      description.num_kv_heads,
      config.integer_or("num_key_value_heads", description.num_heads, {1, kMaxHeads}));
  if (!config.has("head_dim") && description.hidden_size % description.num_heads != 0) {
    return corrupt(fmt::format("{} is {}, must be a multiple of num_attention_heads, which is {}",
                               config.where("hidden_size"), description.hidden_size,
                               description.num_heads));
  }
  const int head_dim = description.hidden_size / description.num_heads;
  if (!config.has("head_dim")) {
    TUTTI_ASSIGN_OR_RETURN(description.head_dim,
                           check_integer(config.where("hidden_size / num_attention_heads"),
                                         head_dim, {2, kMaxHeadDim}));
    return {};
  }
  TUTTI_ASSIGN_OR_RETURN(description.head_dim, config.integer("head_dim", {2, kMaxHeadDim}));
  return {};
}

Result<bool> read_switch(const ConfigReader& config, const ConfigSwitch& which) {
  if (which.key.empty()) return which.otherwise;
  return config.boolean_or(which.key, which.otherwise);
}

Status read_biases(const ConfigReader& config, const Architecture& architecture,
                   ModelDescription& description) {
  TUTTI_ASSIGN_OR_RETURN(description.qkv_bias, read_switch(config, architecture.qkv_bias));
  TUTTI_ASSIGN_OR_RETURN(description.output_bias, read_switch(config, architecture.output_bias));
  TUTTI_ASSIGN_OR_RETURN(description.mlp_bias, read_switch(config, architecture.mlp_bias));
  return {};
}

Status read_multipliers(const ConfigReader& config, ModelDescription& description) {
  TUTTI_ASSIGN_OR_RETURN(description.embedding_multiplier,
                         config.number_or("embedding_multiplier", 1, kMultiplierRange));
  TUTTI_ASSIGN_OR_RETURN(description.residual_multiplier,
                         config.number_or("residual_multiplier", 1, kMultiplierRange));
  TUTTI_ASSIGN_OR_RETURN(description.logits_divisor,
                         config.number_or("logits_scaling", 1, kMultiplierRange));
  TUTTI_ASSIGN_OR_RETURN(description.attention_scale,
                         config.number_or("attention_multiplier",
                                          1 / std::sqrt(description.head_dim), kMultiplierRange));
  return {};
}

Status read_eos(const formats::ModelSource& source, const ConfigReader& root,
                const ConfigReader& text, ModelDescription& description) {
  for (const std::int32_t id : source.generation_config().eos_token_ids) {
    if (id >= 0 && id < description.vocab_size) description.eos_token_ids.push_back(id);
  }
  for (const ConfigReader* config : {&text, &root}) {
    if (!description.eos_token_ids.empty()) break;
    TUTTI_ASSIGN_OR_RETURN(description.eos_token_ids,
                           config->integers("eos_token_id", {0, description.vocab_size - 1}));
  }
  return {};
}

}  // namespace

Result<ModelDescription> describe_config(const formats::ModelSource& source) {
  const ConfigReader root(source.config(), "config.json: ");
  ConfigReader text = root;
  if (root.has_object("text_config")) {
    TUTTI_ASSIGN_OR_RETURN(text, root.object("text_config"));
  }
  TUTTI_ASSIGN_OR_RETURN(const Architecture* architecture, find_family(source.config(), text));
  TUTTI_RETURN_IF_ERROR(check_settings(root, text));

  ModelDescription description;
  description.architecture = architecture->model_type;
  description.norm_placement = architecture->norm_placement;
  description.qk_norm = architecture->qk_norm;
  description.qk_norm_after_rope = architecture->qk_norm_after_rope;
  description.rope_interleaved = architecture->rope_interleaved;
  TUTTI_RETURN_IF_ERROR(read_sizes(text, description));
  TUTTI_RETURN_IF_ERROR(read_biases(text, *architecture, description));
  TUTTI_RETURN_IF_ERROR(read_multipliers(text, description));
  TUTTI_ASSIGN_OR_RETURN(
      description.rms_norm_epsilon,
      text.finite_number_or("rms_norm_eps", architecture->rms_norm_epsilon, kEpsilonRange));
  const ConfigReader& tied = text.has("tie_word_embeddings") ? text : root;
  TUTTI_ASSIGN_OR_RETURN(description.tied_embeddings,
                         tied.boolean_or("tie_word_embeddings", architecture->tied_embeddings));
  TUTTI_RETURN_IF_ERROR(describe_layers(text, *architecture, description));
  TUTTI_RETURN_IF_ERROR(read_eos(source, root, text, description));
  TUTTI_RETURN_IF_ERROR(check_heads(
      description, {.num_heads = text.where("num_attention_heads"),
                    .num_kv_heads = "num_key_value_heads",
                    .head_dim = text.where("head_dim (or hidden_size / num_attention_heads)"),
                    .rotary_dim = text.where("partial_rotary_factor")}));
  TUTTI_ASSIGN_OR_RETURN(description.tensor_names, find_tensor_names(source, *architecture));
  return description;
}

}  // namespace tutti::model
