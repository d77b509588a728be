// What a decoder is made of, as data: the one forward pass (decoder.h) reads it.
//
// Filled from config.json or from GGUF metadata; the families' differences stand in
// architectures.cc. Everything in a description has been checked against its bound.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "core/ids.h"
#include "model/tensor_names.h"

namespace tutti::formats {
class ModelSource;
}

namespace tutti::model {

// Where the RMS norms of a block stand: x + f(norm(x)), x + norm(f(x)), x + norm(f(norm(x))).
enum class NormPlacement { kBefore, kAfter, kBoth };

// RMS norms of queries and keys: none, over each head (weight [head_dim]), or over all heads
// together (weight [heads * head_dim], OLMo-2).
enum class QkNorm { kNone, kPerHead, kProjection };

// How the rotary frequencies differ from base^(-2i / rotary_dim).
enum class RopeScaling {
  kNone,
  kLinear,    // divided by `factor`
  kLlama3,    // long waves divided by `factor`, a smooth passage to the short ones
  kYarn,      // the same idea by rotations within the original context (arXiv:2309.00071)
  kLongRope,  // each divided by its own factor, of one set or another (arXiv:2402.13753)
  kFactors,   // each divided by its own factor (a GGUF's rope_freqs.weight)
};
std::string_view to_string(RopeScaling scaling);

struct RopeDescription {
  RopeScaling scaling = RopeScaling::kNone;
  double base = 10000;                    // > 1
  int rotary_dim = 0;                     // even, <= head_dim: the first so many of a head turn
  double factor = 1;                      // kLinear, kLlama3, kYarn
  int original_max_positions = 0;         // kLlama3, kYarn, kLongRope: the context before scaling
  double low_freq_factor = 1;             // kLlama3
  double high_freq_factor = 4;            // kLlama3
  double beta_fast = 32;                  // kYarn: rotations above which a frequency stays
  double beta_slow = 1;                   // kYarn: rotations below which it is divided
  bool truncate = true;                   // kYarn: the passage's ends are whole numbers
  double attention_factor = 1;            // cos and sin are multiplied with it
  std::vector<float> short_factors = {};  // kLongRope, kFactors: rotary_dim / 2 of them
  std::vector<float> long_factors = {};   // kLongRope
};

struct LayerDescription {
  int sliding_window = 0;  // 0: none; w: a row sees itself and the w - 1 positions before it
  int rope_index = 0;      // into ModelDescription::ropes; -1: this layer does not rotate
};

struct ModelDescription {
  std::string architecture;  // config.json's model_type, or general.architecture
  bool from_gguf = false;

  int vocab_size = 0;
  int hidden_size = 0;
  int intermediate_size = 0;
  int num_layers = 0;
  int num_heads = 0;
  int num_kv_heads = 0;  // divides num_heads
  int head_dim = 0;
  int max_positions = 0;

  double rms_norm_epsilon = 1e-6;
  NormPlacement norm_placement = NormPlacement::kBefore;
  QkNorm qk_norm = QkNorm::kNone;
  bool qk_norm_after_rope = false;
  // The rows of q and k in the file have the two of a rotated pair side by side, not half a head
  // apart; loading puts them apart.
  bool rope_interleaved = false;
  bool qkv_bias = false;
  bool output_bias = false;
  bool mlp_bias = false;
  bool tied_embeddings = false;

  double embedding_multiplier = 1;
  double residual_multiplier = 1;
  double attention_scale = 0;  // of q.k before the softmax
  double logits_divisor = 1;
  // Ministral: queries at position p are multiplied with
  // 1 + beta * ln(1 + floor(p / query_scaling_positions)). beta 0: they are not.
  double query_scaling_beta = 0;
  int query_scaling_positions = 0;

  std::vector<RopeDescription> ropes;
  std::vector<LayerDescription> layers;  // num_layers of them
  std::vector<TokenId> eos_token_ids;    // any of them ends a text; may be empty
  TensorNames tensor_names;
};

// Reads and checks the hyper-parameters. Errors: kUnsupported for an architecture or a setting that
// is not known (named); kCorrupt for a value that is missing, of a wrong type or out of its bound
// (the key, the value and the bound are named).
Result<ModelDescription> describe_model(const formats::ModelSource& source);

}  // namespace tutti::model
