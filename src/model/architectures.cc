#include "model/architectures.h"

#include <algorithm>

namespace tutti::model {
namespace {

constexpr LayerTensorNames kLlamaNames = {
    .pre_attention_norm = "input_layernorm",
    .pre_mlp_norm = "post_attention_layernorm",
    .q = "self_attn.q_proj",
    .k = "self_attn.k_proj",
    .v = "self_attn.v_proj",
    .attention_output = "self_attn.o_proj",
    .gate = "mlp.gate_proj",
    .up = "mlp.up_proj",
    .down = "mlp.down_proj",
};

constexpr LayerTensorNames kGgufNames = {
    .pre_attention_norm = "attn_norm",
    .pre_mlp_norm = "ffn_norm",
    .q = "attn_q",
    .k = "attn_k",
    .v = "attn_v",
    .attention_output = "attn_output",
    .gate = "ffn_gate",
    .up = "ffn_up",
    .down = "ffn_down",
};

constexpr LayerTensorNames with_qk_norm(LayerTensorNames names, std::string_view q_norm,
                                        std::string_view k_norm) {
  names.q_norm = q_norm;
  names.k_norm = k_norm;
  return names;
}

// One tensor for gate and up; and one for q, k and v where `qkv` is given.
constexpr LayerTensorNames with_fused(LayerTensorNames names, std::string_view qkv,
                                      std::string_view gate_up) {
  if (!qkv.empty()) {
    names.q = names.k = names.v = {};
    names.qkv = qkv;
  }
  names.gate = names.up = {};
  names.gate_up = gate_up;
  return names;
}

// Norms after the blocks; and before them too where `keep_before`.
constexpr LayerTensorNames with_post_norms(LayerTensorNames names, bool keep_before,
                                           std::string_view attention, std::string_view mlp) {
  if (!keep_before) names.pre_attention_norm = names.pre_mlp_norm = {};
  names.post_attention_norm = attention;
  names.post_mlp_norm = mlp;
  return names;
}

constexpr LayerTensorNames kQwen3Names =
    with_qk_norm(kLlamaNames, "self_attn.q_norm", "self_attn.k_norm");
constexpr LayerTensorNames kQwen3GgufNames = with_qk_norm(kGgufNames, "attn_q_norm", "attn_k_norm");
constexpr LayerTensorNames kOlmoNames =
    with_post_norms(kQwen3Names, false, "post_attention_layernorm", "post_feedforward_layernorm");
constexpr LayerTensorNames kOlmoGgufNames =
    with_post_norms(kQwen3GgufNames, false, "post_attention_norm", "post_ffw_norm");

constexpr ConfigSwitch kAttentionBias = {.key = "attention_bias"};
constexpr ConfigSwitch kMlpBias = {.key = "mlp_bias"};

// A family's fields that stay at their default are those of Llama.
constexpr Architecture kArchitectures[] = {
    {
        .model_type = "llama",
        .gguf_name = "llama",
        .gguf_rope_interleaved = true,
        .qkv_bias = kAttentionBias,
        .output_bias = kAttentionBias,
        .mlp_bias = kMlpBias,
        .names = kLlamaNames,
        .gguf_names = kGgufNames,
    },
    {
        // Its GGUF files call themselves llama.
        .model_type = "mistral",
        .window_rule = WindowRule::kAllLayers,
        .default_window = 4096,
        .names = kLlamaNames,
    },
    {
        .model_type = "ministral3",
        .gguf_name = "mistral3",
        .rope_base = 1000000,
        .rms_norm_epsilon = 1e-5,
        .gguf_rope_interleaved = true,
        .window_rule = WindowRule::kAllLayers,
        .names = kLlamaNames,
        .gguf_names = kGgufNames,
    },
    {
        .model_type = "qwen2",
        .gguf_name = "qwen2",
        .qkv_bias = {.otherwise = true},
        .window_rule = WindowRule::kMaxWindow,
        .default_window = 4096,
        .names = kLlamaNames,
        .gguf_names = kGgufNames,
    },
    {
        .model_type = "qwen3",
        .gguf_name = "qwen3",
        .qk_norm = QkNorm::kPerHead,
        .qkv_bias = kAttentionBias,
        .output_bias = kAttentionBias,
        .window_rule = WindowRule::kMaxWindow,
        .default_window = 4096,
        .names = kQwen3Names,
        .gguf_names = kQwen3GgufNames,
    },
    {
        .model_type = "smollm3",
        .gguf_name = "smollm3",
        .rope_base = 2000000,
        .tied_embeddings = true,
        .gguf_rope_interleaved = true,
        .qkv_bias = kAttentionBias,
        .output_bias = kAttentionBias,
        .mlp_bias = kMlpBias,
        .window_rule = WindowRule::kWithoutRope,
        .rope_rule = RopeRule::kNoRopeList,
        .names = kLlamaNames,
        .gguf_names = kGgufNames,
    },
    {
        .model_type = "phi3",
        .gguf_name = "phi3",
        .rms_norm_epsilon = 1e-5,
        .window_rule = WindowRule::kAllLayers,
        .names = with_fused(kLlamaNames, "self_attn.qkv_proj", "mlp.gate_up_proj"),
        .gguf_names = with_fused(kGgufNames, "attn_qkv", "ffn_up"),
    },
    {
        .model_type = "olmo2",
        .gguf_name = "olmo2",
        .rms_norm_epsilon = 1e-5,
        .norm_placement = NormPlacement::kAfter,
        .qk_norm = QkNorm::kProjection,
        .qkv_bias = kAttentionBias,
        .output_bias = kAttentionBias,
        .names = kOlmoNames,
        .gguf_names = kOlmoGgufNames,
    },
    {
        // Its GGUF files call themselves olmo2, with a window.
        .model_type = "olmo3",
        .rope_base = 500000,
        .rms_norm_epsilon = 1e-5,
        .norm_placement = NormPlacement::kAfter,
        .qk_norm = QkNorm::kProjection,
        .qkv_bias = kAttentionBias,
        .output_bias = kAttentionBias,
        .window_rule = WindowRule::kPattern,
        .default_window = 4096,
        .window_pattern = 4,
        .rope_rule = RopeRule::kByLayerType,
        .names = kOlmoNames,
    },
    {
        .model_type = "granite",
        .gguf_name = "granite",
        .gguf_rope_interleaved = true,
        .qkv_bias = kAttentionBias,
        .output_bias = kAttentionBias,
        .mlp_bias = kMlpBias,
        .names = kLlamaNames,
        .gguf_names = kGgufNames,
    },
    {
        .model_type = "exaone4",
        .gguf_name = "exaone4",
        .rms_norm_epsilon = 1e-5,
        .norm_placement = NormPlacement::kAfter,
        .qk_norm = QkNorm::kPerHead,
        .window_rule = WindowRule::kPattern,
        .default_window = 4096,
        .window_pattern = 4,
        .rope_rule = RopeRule::kSlidingOnly,
        .names = kOlmoNames,
        .gguf_names = kOlmoGgufNames,
    },
    {
        .model_type = "seed_oss",
        .gguf_name = "seed_oss",
        .qkv_bias = {.key = "attention_bias", .otherwise = true},
        .output_bias = {.key = "attention_out_bias"},
        .mlp_bias = kMlpBias,
        .names = kLlamaNames,
        // llama.cpp calls the norm before the MLP after the attention that it follows.
        .gguf_names =
            [] {
              LayerTensorNames names = kGgufNames;
              names.pre_mlp_norm = "post_attention_norm";
              return names;
            }(),
    },
    {
        .model_type = "hunyuan_v1_dense",
        .gguf_name = "hunyuan-dense",
        .rms_norm_epsilon = 1e-5,
        .qk_norm = QkNorm::kPerHead,
        .qk_norm_after_rope = true,
        .qkv_bias = kAttentionBias,
        .output_bias = kAttentionBias,
        .names = with_qk_norm(kLlamaNames, "self_attn.query_layernorm", "self_attn.key_layernorm"),
        .gguf_names = kQwen3GgufNames,
    },
    {
        .model_type = "ernie4_5",
        .gguf_name = "ernie4_5",
        .rope_base = 500000,
        .rms_norm_epsilon = 1e-5,
        .tied_embeddings = true,
        .rope_interleaved = true,
        .gguf_rope_interleaved = true,
        .qkv_bias = {.key = "use_bias"},
        .output_bias = {.key = "use_bias"},
        .mlp_bias = {.key = "use_bias"},
        .names = kLlamaNames,
        .gguf_names = kGgufNames,
    },
    {
        .model_type = "glm4",
        .gguf_name = "glm4",
        .rms_norm_epsilon = 1.5625e-7,
        .norm_placement = NormPlacement::kBoth,
        .rope_interleaved = true,
        .gguf_rope_interleaved = true,
        .qkv_bias = {.key = "attention_bias", .otherwise = true},
        .names = with_post_norms(with_fused(kLlamaNames, "", "mlp.gate_up_proj"), true,
                                 "post_self_attn_layernorm", "post_mlp_layernorm"),
        .gguf_names = with_post_norms(with_fused(kGgufNames, "", "ffn_up"), true,
                                      "post_attention_norm", "post_ffw_norm"),
    },
};

}  // namespace

std::span<const Architecture> architectures() { return kArchitectures; }

const Architecture* find_architecture(std::string_view model_type) {
  for (const Architecture& architecture : kArchitectures) {
    if (architecture.model_type == model_type) return &architecture;
  }
  return nullptr;
}

const Architecture* find_gguf_architecture(std::string_view gguf_name) {
  if (gguf_name.empty()) return nullptr;
  for (const Architecture& architecture : kArchitectures) {
    if (architecture.gguf_name == gguf_name) return &architecture;
  }
  return nullptr;
}

void assign_ropes_by_window(RopeRule rule, ModelDescription& description) {
  const auto slides = [](const LayerDescription& layer) { return layer.sliding_window > 0; };
  const bool any_window = std::ranges::any_of(description.layers, slides);
  for (LayerDescription& layer : description.layers) {
    if (rule == RopeRule::kByLayerType) layer.rope_index = slides(layer) ? 1 : 0;
    if (rule == RopeRule::kSlidingOnly) layer.rope_index = any_window && !slides(layer) ? -1 : 0;
  }
}

}  // namespace tutti::model
