// The forward pass of every dense decoder: reads the description, runs over device::Ops.
//
// A layer, on the residual stream x [rows, hidden_size]:
//   a = pre_norm(x); q, k, v = linear(a); norms and rotation of q, k; k, v into the cache;
//   x += residual_multiplier * post_norm(linear(attention(q)))
//   m = pre_norm(x); x += residual_multiplier * post_norm(down(silu(gate(m)) * up(m)))
// where a norm that the family does not have is left out. Last the output norm and the output
// matrix, for the rows whose logits were asked for only.
//
// Every operation treats rows apart, so a row's bits depend on its sequence alone.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "device/ops.h"
#include "model/description.h"
#include "model/model.h"
#include "model/rope.h"
#include "model/scratch.h"
#include "model/weights.h"

namespace tutti::model {

class DecoderModel final : public Model {
 public:
  // `max_positions`: what a sequence may have; 0, or more than the model has: all that it has.
  // Errors: as Model::load.
  static Result<std::unique_ptr<DecoderModel>> load(const formats::ModelSource& source,
                                                    device::Ops& ops, const LoadProgress& progress,
                                                    int max_positions);

  const ModelDescription& description() const override { return description_; }
  device::KvShape kv_shape() const override;
  std::size_t owned_bytes() const override { return weights_.owned_bytes; }
  std::size_t mapped_bytes() const override { return weights_.mapped_bytes; }
  std::size_t scratch_bytes(int num_rows, int num_logit_rows) const override;
  std::span<const float> forward(std::span<const BatchSequence> batch,
                                 device::KvCache& cache) override;

  // Floats of each activation for one row.
  struct Widths {
    std::size_t hidden, q, kv, mlp;
  };
  static Widths widths_of(const ModelDescription& description);

  // Called after each layer with the residual stream [rows, hidden_size]; for debugging.
  using LayerObserver = std::function<void(int layer, std::span<const float> hidden)>;
  void set_layer_observer(LayerObserver observer) { layer_observer_ = std::move(observer); }

 private:
  // A step's rows, put together from its sequences. Vectors keep their memory between steps.
  struct Rows {
    std::vector<TokenId> tokens;
    std::vector<Position> positions;
    std::vector<SlotId> slots;
    std::vector<int> logit_rows;
    std::vector<device::AttentionSequence> sequences;

    int count() const { return static_cast<int>(tokens.size()); }
  };
  // Pointers into scratch, each with room for the step's rows.
  struct Activations {
    float* hidden;     // the residual stream [rows, hidden_size], without the last block's output
    float* block;      // a block's input after its norm, then its output [rows, hidden_size]
    float* q;          // [rows, num_heads, head_dim]
    float* k;          // [rows, num_kv_heads, head_dim]
    float* v;          // [rows, num_kv_heads, head_dim]
    float* attention;  // [rows, num_heads, head_dim]
    float* gate;       // [rows, intermediate_size]
    float* up;         // [rows, intermediate_size]
  };

  DecoderModel(ModelDescription description, DecoderWeights weights, device::Ops& ops,
               int max_positions);

  Widths widths() const;
  void gather_rows(std::span<const BatchSequence> batch);
  Activations reserve_activations();
  void attention_block(int layer, device::KvCache& cache, const Activations& activations);
  void mlp_block(int layer, const Activations& activations);
  void normalize_heads(const LayerWeights& weights, const Activations& activations);
  void rotate(const LayerDescription& layer, const Activations& activations);
  void scale_queries(float* q);
  // The stream and the block's output that the next block adds to it; norms are to be set.
  device::Ops::ResidualRows residual_rows(const Activations& activations) const;
  void observe(int layer, Activations activations);
  std::span<const float> compute_logits(const Activations& activations);

  ModelDescription description_;
  DecoderWeights weights_;
  device::Ops& ops_;
  std::vector<RopeTableBuilder> rope_tables_;
  Rows rows_;
  ScratchBuffer activations_, logits_;
  LayerObserver layer_observer_;
};

}  // namespace tutti::model
