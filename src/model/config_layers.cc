// Rotary embeddings and sliding windows from config.json.
// Source of the keys and of what their absence means: transformers' modeling_rope_utils.py and the
// families' configuration classes.
#include <fmt/format.h>

#include <cmath>

#include "formats/display.h"
#include "model/bounds.h"
#include "model/config_description.h"
#include "model/rope.h"

namespace tutti::model {
namespace {

constexpr std::string_view kSliding = "sliding_attention";
constexpr std::string_view kFull = "full_attention";

// A scaling's name, by `rope_type` or by the older `type`.
Result<std::string> rope_type_of(const ConfigReader& rope) {
  if (rope.has("rope_type")) return rope.text("rope_type");
  if (rope.has("type")) return rope.text("type");
  return std::string("default");
}

// The context before scaling: phi3 states it beside the rope settings, others within them.
Result<int> original_positions(const ConfigReader& config, const ConfigReader& rope,
                               const ModelDescription& description) {
  constexpr std::string_view kKey = "original_max_position_embeddings";
  const ConfigReader& where = config.has(kKey) ? config : rope;
  return where.integer_or(kKey, description.max_positions, {1, kMaxPositions});
}

// By how much the context was stretched, where the settings do not say it themselves.
Result<double> stretch_factor(const ConfigReader& rope, const ModelDescription& description,
                              const RopeDescription& result) {
  return rope.number_or(
      "factor", static_cast<double>(description.max_positions) / result.original_max_positions,
      kFactorRange);
}

Status read_linear(const ConfigReader& rope, RopeDescription& result) {
  result.scaling = RopeScaling::kLinear;
  TUTTI_ASSIGN_OR_RETURN(result.factor, rope.number("factor", kFactorRange));
  return {};
}

Status read_llama3(const ConfigReader& rope, RopeDescription& result) {
  result.scaling = RopeScaling::kLlama3;
  TUTTI_ASSIGN_OR_RETURN(result.factor, rope.number("factor", kFactorRange));
  TUTTI_ASSIGN_OR_RETURN(result.low_freq_factor, rope.number("low_freq_factor", kFactorRange));
  TUTTI_ASSIGN_OR_RETURN(result.high_freq_factor, rope.number("high_freq_factor", kFactorRange));
  if (result.high_freq_factor <= result.low_freq_factor) {
    return corrupt(fmt::format("{} is {}, must be greater than low_freq_factor, which is {}",
                               rope.where("high_freq_factor"), result.high_freq_factor,
                               result.low_freq_factor));
  }
  return {};
}

Status read_yarn(const ConfigReader& rope, const ModelDescription& description,
                 RopeDescription& result) {
  result.scaling = RopeScaling::kYarn;
  TUTTI_ASSIGN_OR_RETURN(result.factor, stretch_factor(rope, description, result));
  TUTTI_ASSIGN_OR_RETURN(result.beta_fast, rope.number_or("beta_fast", 32, kFactorRange));
  TUTTI_ASSIGN_OR_RETURN(result.beta_slow, rope.number_or("beta_slow", 1, kFactorRange));
  TUTTI_ASSIGN_OR_RETURN(result.truncate, rope.boolean_or("truncate", true));
  TUTTI_ASSIGN_OR_RETURN(const double mscale, rope.number_or("mscale", 0, {0, 1e3}));
  TUTTI_ASSIGN_OR_RETURN(const double mscale_all, rope.number_or("mscale_all_dim", 0, {0, 1e3}));
  const bool both = mscale != 0 && mscale_all != 0;
  const double implied = both ? yarn_attention_factor(result.factor, mscale) /
                                    yarn_attention_factor(result.factor, mscale_all)
                              : yarn_attention_factor(result.factor, 1);
  TUTTI_ASSIGN_OR_RETURN(result.attention_factor,
                         rope.number_or("attention_factor", implied, kMultiplierRange));
  return {};
}

Status read_longrope(const ConfigReader& rope, const ModelDescription& description,
                     RopeDescription& result) {
  result.scaling = RopeScaling::kLongRope;
  const auto count = static_cast<std::size_t>(result.rotary_dim / 2);
  TUTTI_ASSIGN_OR_RETURN(result.short_factors, rope.numbers("short_factor", count, kFactorRange));
  TUTTI_ASSIGN_OR_RETURN(result.long_factors, rope.numbers("long_factor", count, kFactorRange));
  TUTTI_ASSIGN_OR_RETURN(result.factor, stretch_factor(rope, description, result));
  TUTTI_ASSIGN_OR_RETURN(
      result.attention_factor,
      rope.number_or("attention_factor",
                     longrope_attention_factor(result.factor, result.original_max_positions),
                     kMultiplierRange));
  return {};
}

// Hunyuan writes "dynamic" and an alpha for a base that is fixed: theta * alpha^(d / (d - 2)).
Status read_fixed_alpha(const ConfigReader& rope, RopeDescription& result) {
  TUTTI_ASSIGN_OR_RETURN(const double alpha, rope.number("alpha", kFactorRange));
  if (result.rotary_dim <= 2) return corrupt(rope.where("alpha") + " needs a head_dim above 2");
  const double exponent = static_cast<double>(result.rotary_dim) / (result.rotary_dim - 2);
  TUTTI_ASSIGN_OR_RETURN(result.base,
                         check_number(rope.where("rope_theta * alpha^(d/(d-2))"),
                                      result.base * std::pow(alpha, exponent), kRopeBaseRange));
  return {};
}

// One set of rope settings: `rope` is rope_scaling, rope_parameters, or the part of the latter for
// a type of layer.
Result<RopeDescription> read_rope(const ConfigReader& config, const ConfigReader& rope,
                                  const Architecture& architecture,
                                  const ModelDescription& description) {
  RopeDescription result;
  const bool own_base = rope.has("rope_theta") || rope.is_null("rope_theta");
  const ConfigReader& base = own_base ? rope : config;
  TUTTI_ASSIGN_OR_RETURN(
      result.base, base.finite_number_or("rope_theta", architecture.rope_base, kRopeBaseRange));
  const ConfigReader& partial = rope.has("partial_rotary_factor") ? rope : config;
  TUTTI_ASSIGN_OR_RETURN(const double share,
                         partial.number_or("partial_rotary_factor", 1, {0.001, 1}));
  result.rotary_dim = static_cast<int>(description.head_dim * share);
  TUTTI_ASSIGN_OR_RETURN(result.original_max_positions,
                         original_positions(config, rope, description));

  TUTTI_ASSIGN_OR_RETURN(const std::string type, rope_type_of(rope));
  Status status;
  if (rope.has("long_factor") || type == "longrope" || type == "su") {
    status = read_longrope(rope, description, result);
  } else if (type == "linear") {
    status = read_linear(rope, result);
  } else if (type == "llama3") {
    status = read_llama3(rope, result);
  } else if (type == "yarn") {
    status = read_yarn(rope, description, result);
  } else if (type == "dynamic" && rope.has("alpha")) {
    status = read_fixed_alpha(rope, result);
  } else if (type != "default") {
    status = unsupported(fmt::format("{} is '{}', a scaling that is not supported",
                                     rope.where("rope_type"), formats::display(type)));
  }
  if (!status.ok()) return status;
  return result;
}

Status read_query_scaling(const ConfigReader& rope, ModelDescription& description) {
  TUTTI_ASSIGN_OR_RETURN(description.query_scaling_beta,
                         rope.number_or("llama_4_scaling_beta", 0, {0, 1e3}));
  description.query_scaling_positions = description.ropes.front().original_max_positions;
  return {};
}

// The ropes of layers without and with a window, in this order; one when they are the same.
Status read_ropes(const ConfigReader& config, const Architecture& architecture,
                  ModelDescription& description) {
  const boost::json::object nothing;
  ConfigReader settings(nothing, "config.json: rope_scaling.");
  const bool old_style = config.has("rope_scaling");
  for (const std::string_view key : {"rope_parameters", "rope_scaling"}) {
    if (!config.has(key)) continue;
    TUTTI_ASSIGN_OR_RETURN(settings, config.object(key));
  }
  ConfigReader full = settings;
  ConfigReader sliding = settings;
  if (settings.has_object(kFull)) {
    TUTTI_ASSIGN_OR_RETURN(full, settings.object(kFull));
  }
  if (settings.has_object(kSliding)) {
    TUTTI_ASSIGN_OR_RETURN(sliding, settings.object(kSliding));
  } else if (old_style) {
    sliding = ConfigReader(nothing, "config.json: ");
  }
  TUTTI_ASSIGN_OR_RETURN(RopeDescription rope, read_rope(config, full, architecture, description));
  description.ropes.push_back(std::move(rope));
  TUTTI_RETURN_IF_ERROR(read_query_scaling(full, description));
  if (architecture.rope_rule != RopeRule::kByLayerType) return {};
  TUTTI_ASSIGN_OR_RETURN(rope, read_rope(config, sliding, architecture, description));
  description.ropes.push_back(std::move(rope));
  return {};
}

// The window of layers that have one; 0: none has.
Result<int> window_size(const ConfigReader& config, const Architecture& architecture) {
  if (architecture.window_rule == WindowRule::kNone || config.is_null("sliding_window")) return 0;
  if (architecture.window_rule == WindowRule::kMaxWindow ||
      architecture.window_rule == WindowRule::kWithoutRope) {
    TUTTI_ASSIGN_OR_RETURN(const bool used, config.boolean_or("use_sliding_window", false));
    if (!used) return 0;
  }
  return config.integer_or("sliding_window", architecture.default_window, {0, kMaxPositions});
}

// A pattern is a number n (every n-th layer is full) or letters, repeated: L local, G global.
Result<bool> slides_by_pattern(const ConfigReader& config, const Architecture& architecture,
                               int layer) {
  constexpr std::string_view kKey = "sliding_window_pattern";
  if (config.has_text(kKey)) {
    TUTTI_ASSIGN_OR_RETURN(const std::string letters, config.text(kKey));
    if (letters.empty() || letters.find_first_not_of("LG") != std::string::npos) {
      return corrupt(fmt::format("{} must consist of L and G", config.where(kKey)));
    }
    return letters[static_cast<std::size_t>(layer) % letters.size()] == 'L';
  }
  TUTTI_ASSIGN_OR_RETURN(const int period,
                         config.integer_or(kKey, architecture.window_pattern, {1, 1 << 12}));
  return (layer + 1) % period != 0;
}

// Whether a layer has a window, where layer_types does not say it.
Result<bool> slides_by_rule(const ConfigReader& config, const Architecture& architecture,
                            const ModelDescription& description, int layer) {
  switch (architecture.window_rule) {
    case WindowRule::kNone:
      return false;
    case WindowRule::kAllLayers:
      return true;
    case WindowRule::kMaxWindow: {
      TUTTI_ASSIGN_OR_RETURN(const int first,
                             config.integer_or("max_window_layers", 28, {0, 1 << 12}));
      return layer >= first;
    }
    case WindowRule::kWithoutRope:
      return description.layers[static_cast<std::size_t>(layer)].rope_index < 0;
    case WindowRule::kPattern:
      return slides_by_pattern(config, architecture, layer);
  }
  return false;
}

Status read_no_rope_layers(const ConfigReader& config, ModelDescription& description) {
  TUTTI_ASSIGN_OR_RETURN(const std::vector<int> rotates, config.integers("no_rope_layers", {0, 1}));
  TUTTI_ASSIGN_OR_RETURN(const int interval,
                         config.integer_or("no_rope_layer_interval", 4, {1, 1 << 12}));
  if (!rotates.empty() && rotates.size() != description.layers.size()) {
    return corrupt(fmt::format("{} has {} elements, must have {}", config.where("no_rope_layers"),
                               rotates.size(), description.layers.size()));
  }
  for (std::size_t i = 0; i < description.layers.size(); ++i) {
    const bool rotary =
        rotates.empty() ? (i + 1) % static_cast<std::size_t>(interval) != 0 : rotates[i] != 0;
    description.layers[i].rope_index = rotary ? 0 : -1;
  }
  return {};
}

Status read_windows(const ConfigReader& config, const Architecture& architecture,
                    ModelDescription& description) {
  TUTTI_ASSIGN_OR_RETURN(const int window, window_size(config, architecture));
  if (window == 0) return {};
  std::vector<std::string> types;
  if (architecture.window_rule != WindowRule::kAllLayers && config.has("layer_types")) {
    TUTTI_ASSIGN_OR_RETURN(types, config.texts("layer_types", description.layers.size()));
  }
  for (std::size_t i = 0; i < description.layers.size(); ++i) {
    if (!types.empty() && types[i] != kSliding && types[i] != kFull) {
      return unsupported(fmt::format("{} has '{}', which is not supported",
                                     config.where("layer_types"), formats::display(types[i])));
    }
    bool slides = !types.empty() && types[i] == kSliding;
    if (types.empty()) {
      TUTTI_ASSIGN_OR_RETURN(
          slides, slides_by_rule(config, architecture, description, static_cast<int>(i)));
    }
    description.layers[i].sliding_window = slides ? window : 0;
  }
  return {};
}

}  // namespace

Status describe_layers(const ConfigReader& config, const Architecture& architecture,
                       ModelDescription& description) {
  description.layers.resize(static_cast<std::size_t>(description.num_layers));
  TUTTI_RETURN_IF_ERROR(read_ropes(config, architecture, description));
  if (architecture.rope_rule == RopeRule::kNoRopeList) {
    TUTTI_RETURN_IF_ERROR(read_no_rope_layers(config, description));
  }
  TUTTI_RETURN_IF_ERROR(read_windows(config, architecture, description));
  assign_ropes_by_window(architecture.rope_rule, description);
  return {};
}

}  // namespace tutti::model
