// Rotary embeddings and sliding windows from GGUF metadata.
#include <fmt/format.h>

#include "formats/display.h"
#include "formats/model_source.h"
#include "model/bounds.h"
#include "model/gguf_description.h"
#include "model/gguf_reader.h"
#include "model/rope.h"
#include "tensor/dequantize.h"

namespace tutti::model {
namespace {

// A tensor of rotary factors: rotary_dim / 2 numbers that divide the frequencies.
Result<std::vector<float>> read_factors(const TensorView& tensor, int rotary_dim) {
  if (tensor.num_values() != rotary_dim / 2) {
    return corrupt(
        fmt::format("tensor {} has {} values, must have {} (half of the rotary "
                    "dimensions)",
                    tensor.name, tensor.num_values(), rotary_dim / 2));
  }
  TUTTI_ASSIGN_OR_RETURN(const std::vector<float> factors, dequantize(tensor));
  for (const float factor : factors) {
    TUTTI_RETURN_IF_ERROR(
        check_number(fmt::format("tensor {}: a factor", tensor.name), factor, kFactorRange)
            .status());
  }
  return factors;
}

Status read_yarn(const GgufReader& reader, RopeDescription& rope) {
  rope.scaling = RopeScaling::kYarn;
  TUTTI_ASSIGN_OR_RETURN(rope.factor, reader.number("rope.scaling.factor", kFactorRange));
  TUTTI_ASSIGN_OR_RETURN(rope.beta_fast,
                         reader.number_or("rope.scaling.yarn_beta_fast", 32, kFactorRange));
  TUTTI_ASSIGN_OR_RETURN(rope.beta_slow,
                         reader.number_or("rope.scaling.yarn_beta_slow", 1, kFactorRange));
  // mscale_all_dim; mscale itself is then 1.
  TUTTI_ASSIGN_OR_RETURN(const double mscale,
                         reader.number_or("rope.scaling.yarn_log_multiplier", 0, {0, 1e3}));
  rope.attention_factor = yarn_attention_factor(rope.factor, 1);
  if (mscale != 0) rope.attention_factor /= yarn_attention_factor(rope.factor, mscale);
  TUTTI_ASSIGN_OR_RETURN(const double extra,
                         reader.number_or("rope.scaling.attn_factor", 1, kMultiplierRange));
  rope.attention_factor *= extra;
  return {};
}

Status read_longrope(const GgufReader& reader, const formats::ModelSource& source,
                     const ModelDescription& description, RopeDescription& rope) {
  rope.scaling = RopeScaling::kLongRope;
  const TensorView* short_factors = source.find_tensor("rope_factors_short.weight");
  const TensorView* long_factors = source.find_tensor("rope_factors_long.weight");
  if (short_factors == nullptr || long_factors == nullptr) {
    return corrupt(
        "tensors rope_factors_short.weight and rope_factors_long.weight must be there "
        "together");
  }
  TUTTI_ASSIGN_OR_RETURN(rope.short_factors, read_factors(*short_factors, rope.rotary_dim));
  TUTTI_ASSIGN_OR_RETURN(rope.long_factors, read_factors(*long_factors, rope.rotary_dim));
  const double stretch =
      static_cast<double>(description.max_positions) / rope.original_max_positions;
  TUTTI_ASSIGN_OR_RETURN(
      rope.attention_factor,
      reader.number_or("rope.scaling.attn_factor",
                       longrope_attention_factor(stretch, rope.original_max_positions),
                       kMultiplierRange));
  return {};
}

Status read_scaling(const GgufReader& reader, const formats::ModelSource& source,
                    const ModelDescription& description, RopeDescription& rope) {
  TUTTI_ASSIGN_OR_RETURN(
      const std::string type,
      reader.text_or("rope.scaling.type", reader.has("rope.scale_linear") ? "linear" : "none"));
  if (source.find_tensor("rope_factors_long.weight") != nullptr || type == "longrope") {
    return read_longrope(reader, source, description, rope);
  }
  if (const TensorView* factors = source.find_tensor("rope_freqs.weight")) {
    rope.scaling = RopeScaling::kFactors;
    TUTTI_ASSIGN_OR_RETURN(rope.short_factors, read_factors(*factors, rope.rotary_dim));
    return {};
  }
  if (type == "none") return {};
  if (type == "yarn") return read_yarn(reader, rope);
  if (type != "linear") {
    return unsupported(fmt::format("{} is '{}', a scaling that is not supported",
                                   reader.where("rope.scaling.type"), formats::display(type)));
  }
  const char* key = reader.has("rope.scaling.factor") ? "rope.scaling.factor" : "rope.scale_linear";
  rope.scaling = RopeScaling::kLinear;
  TUTTI_ASSIGN_OR_RETURN(rope.factor, reader.number(key, kFactorRange));
  return {};
}

Result<RopeDescription> read_rope(const GgufReader& reader, const formats::ModelSource& source,
                                  const ModelDescription& description) {
  RopeDescription rope;
  TUTTI_ASSIGN_OR_RETURN(rope.base, reader.number_or("rope.freq_base", 10000, kRopeBaseRange));
  TUTTI_ASSIGN_OR_RETURN(
      rope.rotary_dim,
      reader.integer_or("rope.dimension_count", description.head_dim, {2, kMaxHeadDim}));
  TUTTI_ASSIGN_OR_RETURN(rope.original_max_positions,
                         reader.integer_or("rope.scaling.original_context_length",
                                           description.max_positions, {1, kMaxPositions}));
  TUTTI_RETURN_IF_ERROR(read_scaling(reader, source, description, rope));
  return rope;
}

// Whether each layer has a window: a list of booleans, or a period n (every n-th has none).
Result<std::vector<bool>> read_pattern(const GgufReader& reader, int otherwise, int num_layers) {
  constexpr std::string_view kKey = "attention.sliding_window_pattern";
  const formats::GgufValue* value = reader.file().find_value(reader.key_of(kKey));
  if (value != nullptr && value->is_array) {
    TUTTI_ASSIGN_OR_RETURN(std::vector<bool> slides, reader.file().get_bools(reader.key_of(kKey)));
    if (slides.size() != static_cast<std::size_t>(num_layers)) {
      return corrupt(fmt::format("{} has {} elements, must have {}", reader.where(kKey),
                                 slides.size(), num_layers));
    }
    return slides;
  }
  TUTTI_ASSIGN_OR_RETURN(const int period, reader.integer_or(kKey, otherwise, {0, 1 << 12}));
  std::vector<bool> slides;
  for (int i = 0; i < num_layers; ++i) slides.push_back(period == 0 || (i + 1) % period != 0);
  return slides;
}

// What llama.cpp knows of a family without a key in the file.
struct ImpliedLayers {
  std::string_view gguf_name;
  int window_period;   // every so-many-th layer has no window; 0: all have one
  int no_rope_period;  // every so-many-th layer does not rotate; 0: all do
  RopeRule rope_rule;
};
constexpr ImpliedLayers kImpliedLayers[] = {
    {"smollm3", 0, 4, RopeRule::kAllLayers},
    {"olmo2", 4, 0, RopeRule::kByLayerType},
    {"exaone4", 4, 0, RopeRule::kSlidingOnly},
};

ImpliedLayers implied_layers(std::string_view gguf_name) {
  for (const ImpliedLayers& implied : kImpliedLayers) {
    if (implied.gguf_name == gguf_name) return implied;
  }
  return {gguf_name, 0, 0, RopeRule::kAllLayers};
}

}  // namespace

Status describe_gguf_layers(const formats::ModelSource& source, const Architecture& architecture,
                            ModelDescription& description) {
  const GgufReader reader(*source.gguf(), architecture.gguf_name);
  const ImpliedLayers implied = implied_layers(architecture.gguf_name);
  description.layers.resize(static_cast<std::size_t>(description.num_layers));
  TUTTI_ASSIGN_OR_RETURN(RopeDescription rope, read_rope(reader, source, description));
  description.ropes.push_back(std::move(rope));
  if (implied.rope_rule == RopeRule::kByLayerType) {
    const RopeDescription& scaled = description.ropes.front();
    description.ropes.push_back({.base = scaled.base, .rotary_dim = scaled.rotary_dim});
  }
  description.query_scaling_positions = description.ropes.front().original_max_positions;
  TUTTI_ASSIGN_OR_RETURN(description.query_scaling_beta,
                         reader.number_or("attention.temperature_scale", 0, {0, 1e3}));

  TUTTI_ASSIGN_OR_RETURN(const int window,
                         reader.integer_or("attention.sliding_window", 0, {0, kMaxPositions}));
  TUTTI_ASSIGN_OR_RETURN(const std::vector<bool> slides,
                         read_pattern(reader, implied.window_period, description.num_layers));
  for (std::size_t i = 0; i < description.layers.size(); ++i) {
    const auto number = static_cast<int>(i) + 1;
    const bool rotates = implied.no_rope_period == 0 || number % implied.no_rope_period != 0;
    description.layers[i] = {.sliding_window = slides[i] ? window : 0,
                             .rope_index = rotates ? 0 : -1};
  }
  assign_ropes_by_window(implied.rope_rule, description);
  return {};
}

}  // namespace tutti::model
