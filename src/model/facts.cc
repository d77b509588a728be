#include "model/facts.h"

#include <fmt/format.h>

#include <array>
#include <boost/json.hpp>
#include <cmath>
#include <map>

#include "formats/model_source.h"
#include "model/bounds.h"
#include "tensor/dtype.h"

namespace tutti::model {
namespace {

namespace json = boost::json;

// general.file_type, as llama.cpp numbers it (include/llama.h, enum llama_ftype).
constexpr std::string_view kFileTypes[] = {
    "F32",    "F16",    "Q4_0",  "Q4_1",    "",       "",       "",       "Q8_0",
    "Q5_0",   "Q5_1",   "Q2_K",  "Q3_K_S",  "Q3_K_M", "Q3_K_L", "Q4_K_S", "Q4_K_M",
    "Q5_K_S", "Q5_K_M", "Q6_K",  "IQ2_XXS", "IQ2_XS", "Q2_K_S", "IQ3_XS", "IQ3_XXS",
    "IQ1_S",  "IQ4_NL", "IQ3_S", "IQ3_M",   "IQ2_S",  "IQ2_M",  "IQ4_XS", "IQ1_M",
    "BF16",   "",       "",      "",        "TQ1_0",  "TQ2_0",  "MXFP4",
};

// Norms, tables of factors and other parts of a checkpoint are told apart by name.
bool is_text_weight(const TensorView& tensor, const ModelDescription& description) {
  if (description.from_gguf) return !tensor.name.starts_with("rope_");
  const TensorNames& names = description.tensor_names;
  return tensor.name == names.embedding || tensor.name == names.output_norm ||
         tensor.name.starts_with(names.layer_prefix) ||
         (tensor.name == names.output && !description.tied_embeddings);
}

// The type that most of the weights' bytes have.
std::string prevailing_type(const formats::ModelSource& source,
                            const ModelDescription& description) {
  std::map<DType, std::size_t> bytes;
  for (const TensorView& tensor : source.tensors()) {
    if (is_text_weight(tensor, description)) bytes[tensor.dtype] += tensor.bytes.size();
  }
  const auto most = std::ranges::max_element(
      bytes, [](const auto& a, const auto& b) { return a.second < b.second; });
  return most == bytes.end() ? std::string() : std::string(to_string(most->first));
}

std::string quantization_of(const formats::ModelSource& source,
                            const ModelDescription& description) {
  if (source.gguf() != nullptr) {
    const Result<std::uint64_t> type = source.gguf()->get_uint("general.file_type");
    if (type.ok() && *type < std::size(kFileTypes) && !kFileTypes[*type].empty()) {
      return std::string(kFileTypes[*type]);
    }
  }
  return prevailing_type(source, description);
}

std::string trimmed_number(double number, int decimals) {
  return number == std::floor(number) ? fmt::format("{:.0f}", number)
                                      : fmt::format("{:.{}f}", number, decimals);
}

std::string_view to_string(NormPlacement placement) {
  constexpr std::string_view kWords[] = {"before", "after", "both"};
  return kWords[static_cast<int>(placement)];
}

std::string_view to_string(QkNorm norm) {
  constexpr std::string_view kWords[] = {"none", "per_head", "projection"};
  return kWords[static_cast<int>(norm)];
}

json::array floats_to_json(const std::vector<float>& values) {
  json::array array;
  for (const float value : values) array.emplace_back(value);
  return array;
}

json::object rope_to_json(const RopeDescription& rope) {
  json::object object = {{"base", rope.base},
                         {"rotary_dim", rope.rotary_dim},
                         {"scaling", to_string(rope.scaling)},
                         {"attention_factor", rope.attention_factor}};
  if (rope.factor != 1) object["factor"] = rope.factor;
  if (rope.original_max_positions != 0) {
    object["original_max_positions"] = rope.original_max_positions;
  }
  if (rope.scaling == RopeScaling::kLlama3) {
    object["low_freq_factor"] = rope.low_freq_factor;
    object["high_freq_factor"] = rope.high_freq_factor;
  }
  if (rope.scaling == RopeScaling::kYarn) {
    object["beta_fast"] = rope.beta_fast;
    object["beta_slow"] = rope.beta_slow;
  }
  if (!rope.short_factors.empty()) object["short_factors"] = floats_to_json(rope.short_factors);
  if (!rope.long_factors.empty()) object["long_factors"] = floats_to_json(rope.long_factors);
  return object;
}

json::array layers_to_json(const ModelDescription& description) {
  json::array layers;
  for (const LayerDescription& layer : description.layers) {
    json::object object;
    object["sliding_window"] = layer.sliding_window == 0 ? json::value() : layer.sliding_window;
    object["rope"] = layer.rope_index < 0 ? json::value() : layer.rope_index;
    layers.push_back(std::move(object));
  }
  return layers;
}

}  // namespace

std::string format_parameter_size(std::int64_t count) {
  const auto number = static_cast<double>(count);
  if (number >= 1e9) return trimmed_number(number / 1e9, 1) + "B";
  if (number >= 1e6) return trimmed_number(number / 1e6, 2) + "M";
  if (number >= 1e3) return fmt::format("{:.0f}K", number / 1e3);
  return fmt::format("{}", count);
}

ModelFacts facts_of(const formats::ModelSource& source, const ModelDescription& description) {
  ModelFacts facts;
  facts.architecture = description.architecture;
  for (const TensorView& tensor : source.tensors()) {
    if (!is_text_weight(tensor, description)) continue;
    facts.parameter_count += tensor.num_values();
    facts.weight_bytes += static_cast<std::int64_t>(tensor.bytes.size());
  }
  facts.parameter_size = format_parameter_size(facts.parameter_count);
  facts.quantization = quantization_of(source, description);
  facts.context_length = description.max_positions;
  facts.embedding_length = description.hidden_size;
  return facts;
}

json::object description_to_json(const ModelDescription& description) {
  json::object object = {
      {"architecture", description.architecture},
      {"vocab_size", description.vocab_size},
      {"hidden_size", description.hidden_size},
      {"intermediate_size", description.intermediate_size},
      {"num_layers", description.num_layers},
      {"num_heads", description.num_heads},
      {"num_kv_heads", description.num_kv_heads},
      {"head_dim", description.head_dim},
      {"max_positions", description.max_positions},
      {"rms_norm_epsilon", description.rms_norm_epsilon},
      {"norm_placement", to_string(description.norm_placement)},
      {"qk_norm", to_string(description.qk_norm)},
      {"qkv_bias", description.qkv_bias},
      {"output_bias", description.output_bias},
      {"mlp_bias", description.mlp_bias},
      {"tied_embeddings", description.tied_embeddings},
      {"embedding_multiplier", description.embedding_multiplier},
      {"residual_multiplier", description.residual_multiplier},
      {"attention_scale", description.attention_scale},
      {"logits_divisor", description.logits_divisor},
  };
  json::array ropes;
  for (const RopeDescription& rope : description.ropes) ropes.push_back(rope_to_json(rope));
  object["ropes"] = std::move(ropes);
  object["layers"] = layers_to_json(description);
  object["eos_token_ids"] = json::value_from(description.eos_token_ids);
  return object;
}

json::object model_info(const formats::ModelSource& source, const ModelDescription& description) {
  json::object info;
  if (source.gguf() != nullptr) {
    for (const std::string& key : source.gguf()->keys()) {
      const formats::GgufValue* value = source.gguf()->find_value(key);
      const bool is_long = value->is_array && value->count > 64;
      info[key] = is_long ? json::value() : source.gguf()->value_as_json(key, 64);
    }
    info["general.parameter_count"] = facts_of(source, description).parameter_count;
    return info;
  }
  const std::string prefix = description.architecture + ".";
  info["general.architecture"] = description.architecture;
  info["general.parameter_count"] = facts_of(source, description).parameter_count;
  for (const SizeParameter& size : kSizeParameters) {
    info[prefix + std::string(size.gguf_key)] = description.*size.member;
  }
  info[prefix + "attention.head_count_kv"] = description.num_kv_heads;
  info[prefix + "attention.key_length"] = description.head_dim;
  info[prefix + "attention.value_length"] = description.head_dim;
  info[prefix + "attention.layer_norm_rms_epsilon"] = description.rms_norm_epsilon;
  info[prefix + "rope.dimension_count"] = description.ropes.front().rotary_dim;
  info[prefix + "rope.freq_base"] = description.ropes.front().base;
  info[prefix + "vocab_size"] = description.vocab_size;
  return info;
}

}  // namespace tutti::model
