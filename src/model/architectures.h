// The families that the decoder can compute, as data: what a config.json or a GGUF leaves unsaid.
#pragma once

#include <span>
#include <string_view>

#include "model/description.h"
#include "model/tensor_names.h"

namespace tutti::model {

// A switch that config.json may hold under `key`; `otherwise` when there is no key or it is absent.
struct ConfigSwitch {
  std::string_view key = {};
  bool otherwise = false;
};

// Which layers have a sliding window.
enum class WindowRule {
  kNone,
  kAllLayers,    // sliding_window, where it is not null
  kMaxWindow,    // Qwen: use_sliding_window, layers from max_window_layers on, or layer_types
  kWithoutRope,  // SmolLM3: use_sliding_window, the layers that do not rotate, or layer_types
  kPattern,      // layer_types, or every layer but each n-th (sliding_window_pattern)
};

// Which layers rotate queries and keys.
enum class RopeRule {
  kAllLayers,
  kNoRopeList,   // SmolLM3: no_rope_layers (1: rotates), or all but each no_rope_layer_interval-th
  kSlidingOnly,  // EXAONE 4: those with a window, where there is a window at all
  kByLayerType,  // OLMo-3: all, but the scaling applies to layers without a window only
};

struct Architecture {
  std::string_view model_type = {};  // config.json; empty: the family is known from GGUF only
  std::string_view gguf_name = {};   // general.architecture; empty: not known from GGUF
  double rope_base = 10000;
  double rms_norm_epsilon = 1e-6;
  bool tied_embeddings = false;
  NormPlacement norm_placement = NormPlacement::kBefore;
  QkNorm qk_norm = QkNorm::kNone;
  bool qk_norm_after_rope = false;
  bool rope_interleaved = false;       // in Hugging Face's weights
  bool gguf_rope_interleaved = false;  // in llama.cpp's
  ConfigSwitch qkv_bias = {};
  ConfigSwitch output_bias = {};
  ConfigSwitch mlp_bias = {};
  WindowRule window_rule = WindowRule::kNone;
  int default_window = 0;  // when config.json has no sliding_window at all, not even null
  int window_pattern = 0;  // kPattern without a list: each so-many-th layer has no window
  RopeRule rope_rule = RopeRule::kAllLayers;
  LayerTensorNames names = {};
  LayerTensorNames gguf_names = {};
};

// All of them.
std::span<const Architecture> architectures();

// nullptr when unknown.
const Architecture* find_architecture(std::string_view model_type);
const Architecture* find_gguf_architecture(std::string_view gguf_name);

// For the rules that depend on windows: sets every layer's rope_index. description.ropes holds the
// rope of layers without a window, then, for kByLayerType, that of layers with one.
void assign_ropes_by_window(RopeRule rule, ModelDescription& description);

}  // namespace tutti::model
