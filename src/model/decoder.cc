#include "model/decoder.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "formats/model_source.h"

namespace tutti::model {
namespace {

// Activations start on a cache line's boundary.
constexpr std::size_t kFloatsPerLine = 16;

std::size_t padded(std::size_t num_floats) {
  return (num_floats + kFloatsPerLine - 1) / kFloatsPerLine * kFloatsPerLine;
}

}  // namespace

Result<std::unique_ptr<Model>> Model::load(const formats::ModelSource& source, device::Ops& ops,
                                           const LoadProgress& progress, int max_positions) {
  TUTTI_ASSIGN_OR_RETURN(std::unique_ptr<DecoderModel> decoder,
                         DecoderModel::load(source, ops, progress, max_positions));
  return std::unique_ptr<Model>(std::move(decoder));
}

Result<std::unique_ptr<DecoderModel>> DecoderModel::load(const formats::ModelSource& source,
                                                         device::Ops& ops,
                                                         const LoadProgress& progress,
                                                         int max_positions) {
  TUTTI_ASSIGN_OR_RETURN(ModelDescription description, describe_model(source));
  TUTTI_ASSIGN_OR_RETURN(DecoderWeights weights, load_weights(source, description, ops, progress));
  if (max_positions <= 0) max_positions = description.max_positions;
  max_positions = std::min(max_positions, description.max_positions);
  return std::unique_ptr<DecoderModel>(
      new DecoderModel(std::move(description), std::move(weights), ops, max_positions));
}

DecoderModel::Widths DecoderModel::widths_of(const ModelDescription& description) {
  const auto head_dim = static_cast<std::size_t>(description.head_dim);
  return {.hidden = static_cast<std::size_t>(description.hidden_size),
          .q = static_cast<std::size_t>(description.num_heads) * head_dim,
          .kv = static_cast<std::size_t>(description.num_kv_heads) * head_dim,
          .mlp = static_cast<std::size_t>(description.intermediate_size)};
}

std::size_t step_scratch_bytes(const ModelDescription& description, int num_rows,
                               int num_logit_rows) {
  const DecoderModel::Widths width = DecoderModel::widths_of(description);
  const auto rows = static_cast<std::size_t>(num_rows);
  const auto logit_rows = static_cast<std::size_t>(num_logit_rows);
  const std::size_t activations = 2 * padded(rows * width.hidden) + 2 * padded(rows * width.q) +
                                  2 * padded(rows * width.kv) + 2 * padded(rows * width.mlp);
  const std::size_t logits = 2 * padded(logit_rows * width.hidden) +
                             logit_rows * static_cast<std::size_t>(description.vocab_size);
  return (activations + logits) * sizeof(float);
}

std::size_t rope_position_bytes(const ModelDescription& description) {
  std::size_t bytes = 0;
  for (const RopeDescription& rope : description.ropes) {
    bytes += RopeTableBuilder(rope, 1).max_bytes();
  }
  return bytes;
}

DecoderModel::DecoderModel(ModelDescription description, DecoderWeights weights, device::Ops& ops,
                           int max_positions)
    : description_(std::move(description)), weights_(std::move(weights)), ops_(ops) {
  for (const RopeDescription& rope : description_.ropes) {
    rope_tables_.emplace_back(rope, max_positions);
  }
}

device::KvShape DecoderModel::kv_shape() const {
  return {.num_layers = description_.num_layers,
          .num_kv_heads = description_.num_kv_heads,
          .head_dim = description_.head_dim};
}

DecoderModel::Widths DecoderModel::widths() const { return widths_of(description_); }

std::size_t DecoderModel::scratch_bytes(int num_rows, int num_logit_rows) const {
  std::size_t tables = 0;
  for (const RopeTableBuilder& table : rope_tables_) tables += table.max_bytes();
  return step_scratch_bytes(description_, num_rows, num_logit_rows) + tables;
}

std::span<const float> DecoderModel::forward(std::span<const BatchSequence> batch,
                                             device::KvCache& cache) {
  gather_rows(batch);
  if (rows_.count() == 0) return {};
  const Activations activations = reserve_activations();
  ops_.embed(*weights_.embedding, rows_.tokens,
             static_cast<float>(description_.embedding_multiplier), activations.hidden);
  for (int layer = 0; layer < description_.num_layers; ++layer) {
    attention_block(layer, cache, activations);
    mlp_block(layer, activations);
    if (layer_observer_) observe(layer, activations);
  }
  return compute_logits(activations);
}

void DecoderModel::gather_rows(std::span<const BatchSequence> batch) {
  rows_.tokens.clear();
  rows_.positions.clear();
  rows_.slots.clear();
  rows_.logit_rows.clear();
  rows_.sequences.clear();
  for (const BatchSequence& sequence : batch) {
    const auto num_rows = static_cast<int>(sequence.tokens.size());
    if (num_rows == 0) continue;
    TUTTI_CHECK(sequence.num_logit_rows >= 0 && sequence.num_logit_rows <= num_rows)
        << sequence.num_logit_rows << " logits of " << num_rows << " rows";
    rows_.sequences.push_back({.first_row = rows_.count(),
                               .num_rows = num_rows,
                               .first_position = sequence.first_position,
                               .block_table = sequence.block_table});
    for (int i = 0; i < num_rows; ++i) {
      const TokenId token = sequence.tokens[static_cast<std::size_t>(i)];
      TUTTI_CHECK(token >= 0 && token < description_.vocab_size) << "token " << token;
      const Position position = sequence.first_position + i;
      const auto block_index = static_cast<std::size_t>(position / kBlockSize);
      TUTTI_CHECK(position >= 0 && block_index < sequence.block_table.size())
          << "position " << position << " beyond " << sequence.block_table.size() << " blocks";
      const std::int64_t block = sequence.block_table[block_index].value;
      if (i >= num_rows - sequence.num_logit_rows) rows_.logit_rows.push_back(rows_.count());
      rows_.tokens.push_back(token);
      rows_.positions.push_back(position);
      rows_.slots.emplace_back(block * kBlockSize + position % kBlockSize);
    }
  }
}

DecoderModel::Activations DecoderModel::reserve_activations() {
  const Widths width = widths();
  const auto rows = static_cast<std::size_t>(rows_.count());
  const std::size_t hidden = padded(rows * width.hidden);
  const std::size_t q = padded(rows * width.q);
  const std::size_t kv = padded(rows * width.kv);
  const std::size_t mlp = padded(rows * width.mlp);
  float* base = activations_.at_least(2 * (hidden + q + kv + mlp));
  const auto take = [&base](std::size_t count) { return std::exchange(base, base + count); };
  return {.hidden = take(hidden),
          .block = take(hidden),
          .q = take(q),
          .k = take(kv),
          .v = take(kv),
          .attention = take(q),
          .gate = take(mlp),
          .up = take(mlp)};
}

device::Ops::ResidualRows DecoderModel::residual_rows(const Activations& activations) const {
  return {.hidden = activations.hidden,
          .block = activations.block,
          .scale = static_cast<float>(description_.residual_multiplier),
          .epsilon = static_cast<float>(description_.rms_norm_epsilon)};
}

void DecoderModel::observe(int layer, Activations activations) {
  const std::size_t count = rows_.tokens.size() * widths().hidden;
  std::vector<float> hidden(activations.hidden, activations.hidden + count);
  std::vector<float> block(activations.block, activations.block + count);
  activations.hidden = hidden.data();
  activations.block = block.data();
  device::Ops::ResidualRows rows = residual_rows(activations);
  rows.post_norm = weights_.layers[static_cast<std::size_t>(layer)].post_mlp_norm;
  ops_.add_and_norm(rows, rows_.count(), description_.hidden_size);
  layer_observer_(layer, hidden);
}

void DecoderModel::attention_block(int layer, device::KvCache& cache,
                                   const Activations& activations) {
  const LayerWeights& weights = weights_.layers[static_cast<std::size_t>(layer)];
  const LayerDescription& described = description_.layers[static_cast<std::size_t>(layer)];
  device::Ops::ResidualRows rows = residual_rows(activations);
  rows.has_residual = layer > 0;
  if (layer > 0) {
    rows.post_norm = weights_.layers[static_cast<std::size_t>(layer - 1)].post_mlp_norm;
  }
  rows.pre_norm = weights.pre_attention_norm;
  const device::Ops::LinearOutput outputs[] = {
      {weights.q.matrix.get(), activations.q, weights.q.bias},
      {weights.k.matrix.get(), activations.k, weights.k.bias},
      {weights.v.matrix.get(), activations.v, weights.v.bias},
  };
  ops_.add_norm_linear(outputs, rows, rows_.count());

  if (!description_.qk_norm_after_rope) normalize_heads(weights, activations);
  rotate(described, activations);
  if (description_.qk_norm_after_rope) normalize_heads(weights, activations);
  if (description_.query_scaling_beta != 0) scale_queries(activations.q);

  ops_.store_kv(cache, layer, activations.k, activations.v, rows_.slots);
  ops_.attention(cache,
                 {.layer = layer,
                  .num_heads = description_.num_heads,
                  .scale = static_cast<float>(description_.attention_scale),
                  .sliding_window = described.sliding_window,
                  .sequences = rows_.sequences},
                 activations.q, activations.attention);
  ops_.linear(*weights.attention_output.matrix, activations.attention, rows_.count(),
              activations.block, weights.attention_output.bias);
}

void DecoderModel::mlp_block(int layer, const Activations& activations) {
  const LayerWeights& weights = weights_.layers[static_cast<std::size_t>(layer)];
  device::Ops::ResidualRows rows = residual_rows(activations);
  rows.post_norm = weights.post_attention_norm;
  rows.pre_norm = weights.pre_mlp_norm;
  const device::Ops::LinearOutput outputs[] = {
      {weights.gate.matrix.get(), activations.gate, weights.gate.bias},
      {weights.up.matrix.get(), activations.up, weights.up.bias},
  };
  ops_.add_norm_linear(outputs, rows, rows_.count());
  ops_.silu_mul_linear({weights.down.matrix.get(), activations.block, weights.down.bias},
                       activations.gate, activations.up, rows_.count());
}

void DecoderModel::normalize_heads(const LayerWeights& weights, const Activations& activations) {
  if (description_.qk_norm == QkNorm::kNone) return;
  const auto epsilon = static_cast<float>(description_.rms_norm_epsilon);
  const bool per_head = description_.qk_norm == QkNorm::kPerHead;
  const auto normalize = [&](float* x, int num_heads, std::span<const float> weight) {
    const int num_groups = per_head ? rows_.count() * num_heads : rows_.count();
    ops_.rms_norm(x, num_groups, static_cast<int>(weight.size()), weight, epsilon, x);
  };
  normalize(activations.q, description_.num_heads, weights.q_norm);
  normalize(activations.k, description_.num_kv_heads, weights.k_norm);
}

void DecoderModel::rotate(const LayerDescription& layer, const Activations& activations) {
  if (layer.rope_index < 0) return;
  const Position last = *std::ranges::max_element(rows_.positions);
  const device::RopeTable& table =
      rope_tables_[static_cast<std::size_t>(layer.rope_index)].at_least(last + 1, ops_.pool());
  ops_.rope(activations.q, rows_.positions, description_.num_heads, description_.head_dim, table);
  ops_.rope(activations.k, rows_.positions, description_.num_kv_heads, description_.head_dim,
            table);
}

void DecoderModel::scale_queries(float* q) {
  const std::size_t width = widths().q;
  for (std::size_t row = 0; row < rows_.positions.size(); ++row) {
    const int stretches = rows_.positions[row] / description_.query_scaling_positions;
    const auto scale = static_cast<float>(1 + description_.query_scaling_beta *
                                                  std::log1p(static_cast<double>(stretches)));
    if (stretches == 0) continue;
    for (float& value : std::span(q + row * width, width)) value *= scale;
  }
}

std::span<const float> DecoderModel::compute_logits(const Activations& activations) {
  const std::size_t num_rows = rows_.logit_rows.size();
  if (num_rows == 0) return {};
  const std::size_t width = widths().hidden;
  const std::size_t num_logits = num_rows * static_cast<std::size_t>(description_.vocab_size);
  float* hidden = logits_.at_least(2 * padded(num_rows * width) + num_logits);
  float* block = hidden + padded(num_rows * width);
  float* logits = block + padded(num_rows * width);
  for (std::size_t i = 0; i < num_rows; ++i) {
    const std::size_t row = static_cast<std::size_t>(rows_.logit_rows[i]) * width;
    std::copy_n(activations.hidden + row, width, hidden + i * width);
    std::copy_n(activations.block + row, width, block + i * width);
  }
  device::Ops::ResidualRows rows = residual_rows(activations);
  rows.hidden = hidden;
  rows.block = block;
  rows.post_norm = weights_.layers.back().post_mlp_norm;
  rows.pre_norm = weights_.output_norm;
  const device::Ops::LinearOutput output{
      .weight = &weights_.output_matrix(), .y = logits, .bias = {}, .wide_activations = true};
  ops_.add_norm_linear({&output, 1}, rows, static_cast<int>(num_rows));
  if (description_.logits_divisor != 1) {
    const auto divisor = static_cast<float>(description_.logits_divisor);
    for (float& logit : std::span(logits, num_logits)) logit /= divisor;
  }
  return {logits, num_logits};
}

}  // namespace tutti::model
