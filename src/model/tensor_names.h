// What a family's tensors are called.
#pragma once

#include <string>
#include <string_view>

namespace tutti::model {

// Names within a layer, without ".weight" and ".bias". Empty: the family has no such tensor.
// Either q, k and v stand apart or one tensor holds them in that order; so do gate and up.
struct LayerTensorNames {
  std::string_view pre_attention_norm = {};
  std::string_view post_attention_norm = {};
  std::string_view pre_mlp_norm = {};
  std::string_view post_mlp_norm = {};
  std::string_view q = {}, k = {}, v = {}, qkv = {};
  std::string_view q_norm = {}, k_norm = {};
  std::string_view attention_output = {};
  std::string_view gate = {}, up = {}, gate_up = {}, down = {};
};

// The names of a whole model. A layer's tensor is called layer_prefix + "7." + name + ".weight".
struct TensorNames {
  std::string embedding;    // with ".weight"
  std::string output_norm;  // with ".weight"
  std::string output;       // with ".weight"
  std::string layer_prefix;
  LayerTensorNames layer;
};

}  // namespace tutti::model
