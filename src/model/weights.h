// A decoder's weights in memory, each checked against the description.
#pragma once

#include <vector>

#include "base/result.h"
#include "device/ops.h"
#include "model/description.h"
#include "model/model.h"

namespace tutti::formats {
class ModelSource;
}

namespace tutti::model {

// y = matrix x + bias.
struct Linear {
  device::MatrixPtr matrix;
  std::vector<float> bias;  // empty: none
};

// Norms a family does not have are empty.
struct LayerWeights {
  std::vector<float> pre_attention_norm, post_attention_norm;  // [hidden_size]
  std::vector<float> pre_mlp_norm, post_mlp_norm;              // [hidden_size]
  std::vector<float> q_norm, k_norm;  // [head_dim] or [heads * head_dim], by QkNorm
  Linear q;                           // [num_heads * head_dim, hidden_size]
  Linear k, v;                        // [num_kv_heads * head_dim, hidden_size]
  Linear attention_output;            // [hidden_size, num_heads * head_dim]
  Linear gate, up;                    // [intermediate_size, hidden_size]
  Linear down;                        // [hidden_size, intermediate_size]
};

struct DecoderWeights {
  device::MatrixPtr embedding;     // [vocab_size, hidden_size]
  std::vector<float> output_norm;  // [hidden_size]
  device::MatrixPtr output;        // [vocab_size, hidden_size]; null when tied to the embedding
  std::vector<LayerWeights> layers;
  std::size_t owned_bytes = 0;   // repacked, and vectors
  std::size_t mapped_bytes = 0;  // read where they lie in the mapped file

  const device::Matrix& output_matrix() const { return output ? *output : *embedding; }
};

// Errors: kNotFound and kUnsupported from ModelSource::find_weight, kCorrupt for a shape that is
// not the description's (tensor, shape and the shape wanted are named).
Result<DecoderWeights> load_weights(const formats::ModelSource& source,
                                    const ModelDescription& description, device::Ops& ops,
                                    const LoadProgress& progress);

// The order that puts the halves of rotated pairs half the rotary dimensions apart, head by head,
// where the file has them side by side: output row i is row order[i] of the file.
// Two heads of 6 with 4 rotary dimensions: [0, 2, 1, 3, 4, 5, 6, 8, 7, 9, 10, 11].
std::vector<std::int32_t> rotary_row_order(int num_heads, int head_dim, int rotary_dim);

}  // namespace tutti::model
