#include "model/gguf_description.h"

#include <fmt/format.h>

#include <cmath>

#include "formats/display.h"
#include "formats/model_source.h"
#include "model/bounds.h"
#include "model/gguf_reader.h"

namespace tutti::model {
namespace {

std::string known_gguf_names() {
  std::string known;
  for (const Architecture& architecture : architectures()) {
    if (architecture.gguf_name.empty()) continue;
    if (!known.empty()) known += ", ";
    known += architecture.gguf_name;
  }
  return known;
}

Result<const Architecture*> find_family(const formats::GgufFile& file) {
  TUTTI_ASSIGN_OR_RETURN(const std::string_view name, file.get_string("general.architecture"));
  const Architecture* architecture = find_gguf_architecture(name);
  if (architecture != nullptr) return architecture;
  return unsupported(
      fmt::format("{}: general.architecture is '{}', which is not supported (these are: {})",
                  file.name(), formats::display(name), known_gguf_names()));
}

Status check_settings(const GgufReader& reader) {
  TUTTI_ASSIGN_OR_RETURN(const int num_experts, reader.integer_or("expert_count", 0, {0, 1 << 16}));
  if (num_experts == 0) return {};
  return unsupported(fmt::format("{} is {}: experts are not supported",
                                 reader.where("expert_count"), num_experts));
}

// The vocabulary is as large as the embedding says.
Status read_vocabulary(const formats::ModelSource& source, ModelDescription& description) {
  const std::string& name = description.tensor_names.embedding;
  const TensorView* embedding = source.find_tensor(name);
  if (embedding == nullptr) return corrupt(fmt::format("tensor {} is missing", name));
  TUTTI_ASSIGN_OR_RETURN(description.vocab_size,
                         check_integer(fmt::format("rows of tensor {}", name),
                                       embedding->num_rows(), {1, kMaxVocabulary}));
  return {};
}

Status read_sizes(const GgufReader& reader, ModelDescription& description) {
  for (const SizeParameter& size : kSizeParameters) {
    TUTTI_ASSIGN_OR_RETURN(description.*size.member, reader.integer(size.gguf_key, {1, size.max}));
  }
  TUTTI_ASSIGN_OR_RETURN(
      description.num_kv_heads,
      reader.integer_or("attention.head_count_kv", description.num_heads, {1, kMaxHeads}));
  constexpr IntegerRange kHeadDims = {2, kMaxHeadDim};
  const int implied = description.hidden_size / description.num_heads;
  TUTTI_ASSIGN_OR_RETURN(const int key_length,
                         reader.integer_or("attention.key_length", implied, kHeadDims));
  TUTTI_ASSIGN_OR_RETURN(const int head_dim, check_integer(reader.where("attention.key_length"),
                                                           key_length, kHeadDims));
  description.head_dim = head_dim;
  TUTTI_ASSIGN_OR_RETURN(const int value_length,
                         reader.integer_or("attention.value_length", head_dim, kHeadDims));
  if (value_length != head_dim) {
    return unsupported(fmt::format("{} is {}, must be key_length, which is {}",
                                   reader.where("attention.value_length"), value_length, head_dim));
  }
  return {};
}

Status read_multipliers(const GgufReader& reader, ModelDescription& description) {
  TUTTI_ASSIGN_OR_RETURN(description.embedding_multiplier,
                         reader.number_or("embedding_scale", 1, kMultiplierRange));
  TUTTI_ASSIGN_OR_RETURN(description.residual_multiplier,
                         reader.number_or("residual_scale", 1, kMultiplierRange));
  TUTTI_ASSIGN_OR_RETURN(description.logits_divisor,
                         reader.number_or("logit_scale", 1, kMultiplierRange));
  TUTTI_ASSIGN_OR_RETURN(
      description.attention_scale,
      reader.number_or("attention.scale", 1 / std::sqrt(description.head_dim), kMultiplierRange));
  return {};
}

bool has_bias(const formats::ModelSource& source, const TensorNames& names, std::string_view stem) {
  return !stem.empty() &&
         source.find_tensor(names.layer_prefix + "0." + std::string(stem) + ".bias") != nullptr;
}

// GGUF does not say which biases there are; the first layer shows it.
void find_biases(const formats::ModelSource& source, ModelDescription& description) {
  const TensorNames& names = description.tensor_names;
  const LayerTensorNames& layer = names.layer;
  description.qkv_bias = has_bias(source, names, layer.q) || has_bias(source, names, layer.qkv);
  description.output_bias = has_bias(source, names, layer.attention_output);
  description.mlp_bias =
      has_bias(source, names, layer.gate) || has_bias(source, names, layer.gate_up);
}

}  // namespace

Result<ModelDescription> describe_gguf(const formats::ModelSource& source) {
  const formats::GgufFile& file = *source.gguf();
  TUTTI_ASSIGN_OR_RETURN(const Architecture* architecture, find_family(file));
  const GgufReader reader(file, architecture->gguf_name);
  TUTTI_RETURN_IF_ERROR(check_settings(reader));

  ModelDescription description;
  description.architecture = architecture->gguf_name;
  description.from_gguf = true;
  description.norm_placement = architecture->norm_placement;
  description.qk_norm = architecture->qk_norm;
  description.qk_norm_after_rope = architecture->qk_norm_after_rope;
  description.rope_interleaved = architecture->gguf_rope_interleaved;
  description.tensor_names = {.embedding = "token_embd.weight",
                              .output_norm = "output_norm.weight",
                              .output = "output.weight",
                              .layer_prefix = "blk.",
                              .layer = architecture->gguf_names};
  description.tied_embeddings = source.find_tensor("output.weight") == nullptr;
  TUTTI_RETURN_IF_ERROR(read_sizes(reader, description));
  TUTTI_RETURN_IF_ERROR(read_vocabulary(source, description));
  TUTTI_RETURN_IF_ERROR(read_multipliers(reader, description));
  TUTTI_ASSIGN_OR_RETURN(description.rms_norm_epsilon,
                         reader.number("attention.layer_norm_rms_epsilon", kEpsilonRange));
  find_biases(source, description);
  TUTTI_RETURN_IF_ERROR(describe_gguf_layers(source, *architecture, description));
  for (const std::int32_t id : source.generation_config().eos_token_ids) {
    if (id >= 0 && id < description.vocab_size) description.eos_token_ids.push_back(id);
  }
  TUTTI_RETURN_IF_ERROR(
      check_heads(description, {.num_heads = reader.where("attention.head_count"),
                                .num_kv_heads = "attention.head_count_kv",
                                .head_dim = reader.where("attention.key_length"),
                                .rotary_dim = reader.where("rope.dimension_count")}));
  return description;
}

}  // namespace tutti::model
