#include "model/weights.h"

#include <fmt/format.h>

#include "formats/model_source.h"
#include "tensor/dequantize.h"

namespace tutti::model {
namespace {

// Rows [first, first + count) of a matrix; count 0: all of them.
struct RowRange {
  std::int64_t first = 0;
  std::int64_t count = 0;
};

// Where a linear layer's weight is.
struct LinearSource {
  std::string stem;            // the tensor's name without ".weight"
  std::int64_t file_rows = 0;  // rows of the whole tensor
  RowRange rows;               // those of this layer
  std::int64_t columns = 0;
  bool has_bias = false;
  std::span<const std::int32_t> row_order;
};

Status check_shape(const TensorView& tensor, std::vector<std::int64_t> wanted) {
  if (tensor.shape == wanted) return {};
  return corrupt(fmt::format("tensor {} has shape {}, must be {}", tensor.name,
                             shape_to_string(tensor.shape), shape_to_string(wanted)));
}

// A view of some rows of a matrix, which lie one after the other.
TensorView slice_rows(const TensorView& tensor, RowRange rows) {
  const auto row_bytes =
      tensor.bytes.size() / static_cast<std::size_t>(std::max<std::int64_t>(tensor.num_rows(), 1));
  TensorView slice = tensor;
  slice.name = fmt::format("{}[{}:{}]", tensor.name, rows.first, rows.first + rows.count);
  slice.shape = {rows.count, tensor.row_length()};
  slice.bytes = tensor.bytes.subspan(static_cast<std::size_t>(rows.first) * row_bytes,
                                     static_cast<std::size_t>(rows.count) * row_bytes);
  return slice;
}

std::vector<float> reorder(const std::vector<float>& values,
                           std::span<const std::int32_t> row_order) {
  if (row_order.empty()) return values;
  std::vector<float> ordered;
  for (const std::int32_t row : row_order) ordered.push_back(values[static_cast<std::size_t>(row)]);
  return ordered;
}

class WeightLoader {
 public:
  WeightLoader(const formats::ModelSource& source, const ModelDescription& description,
               device::Ops& ops, const LoadProgress& progress)
      : source_(source), description_(description), ops_(ops), progress_(progress) {
    for (const TensorView& tensor : source.tensors()) total_bytes_ += tensor.bytes.size();
    const int rotary_dim = description.ropes.front().rotary_dim;
    if (description.rope_interleaved) {
      q_order_ = rotary_row_order(description.num_heads, description.head_dim, rotary_dim);
      k_order_ = rotary_row_order(description.num_kv_heads, description.head_dim, rotary_dim);
    }
  }

  Result<DecoderWeights> load() {
    const TensorNames& names = description_.tensor_names;
    const std::int64_t hidden = description_.hidden_size;
    TUTTI_RETURN_IF_ERROR(
        read_matrix(names.embedding, {description_.vocab_size, hidden}, weights_.embedding));
    TUTTI_RETURN_IF_ERROR(read_vector(names.output_norm, hidden, weights_.output_norm));
    for (int i = 0; i < description_.num_layers; ++i) {
      layer_prefix_ = fmt::format("{}{}.", names.layer_prefix, i);
      weights_.layers.emplace_back();
      TUTTI_RETURN_IF_ERROR(read_norms(weights_.layers.back()));
      TUTTI_RETURN_IF_ERROR(read_attention(weights_.layers.back()));
      TUTTI_RETURN_IF_ERROR(read_mlp(weights_.layers.back()));
    }
    if (!description_.tied_embeddings) {
      TUTTI_RETURN_IF_ERROR(
          read_matrix(names.output, {description_.vocab_size, hidden}, weights_.output));
    }
    if (progress_) progress_(1.0);
    return std::move(weights_);
  }

 private:
  std::int64_t q_rows() const {
    return static_cast<std::int64_t>(description_.num_heads) * description_.head_dim;
  }
  std::int64_t kv_rows() const {
    return static_cast<std::int64_t>(description_.num_kv_heads) * description_.head_dim;
  }
  std::string stem(std::string_view name) const { return layer_prefix_ + std::string(name); }

  Result<device::MatrixPtr> make_matrix(const TensorView& view,
                                        std::span<const std::int32_t> row_order) {
    TUTTI_ASSIGN_OR_RETURN(device::MatrixPtr matrix, ops_.make_matrix(view, row_order));
    const std::size_t owned = ops_.owned_bytes(*matrix);
    weights_.owned_bytes += owned;
    if (ops_.reads_file(*matrix)) weights_.mapped_bytes += view.bytes.size();
    loaded_bytes_ += view.bytes.size();
    if (progress_ && total_bytes_ > 0) {
      progress_(static_cast<double>(loaded_bytes_) / static_cast<double>(total_bytes_));
    }
    return matrix;
  }

  Status read_matrix(const std::string& name, std::vector<std::int64_t> shape,
                     device::MatrixPtr& matrix) {
    TUTTI_ASSIGN_OR_RETURN(const TensorView* tensor, source_.find_weight(name));
    TUTTI_RETURN_IF_ERROR(check_shape(*tensor, std::move(shape)));
    TUTTI_ASSIGN_OR_RETURN(matrix, make_matrix(*tensor, {}));
    return {};
  }

  Status read_vector(const std::string& name, std::int64_t size, std::vector<float>& vector) {
    TUTTI_ASSIGN_OR_RETURN(const TensorView* tensor, source_.find_weight(name));
    TUTTI_RETURN_IF_ERROR(check_shape(*tensor, {size}));
    TUTTI_ASSIGN_OR_RETURN(vector, dequantize(*tensor));
    weights_.owned_bytes += vector.size() * sizeof(float);
    return {};
  }

  Status read_linear(const LinearSource& from, Linear& linear) {
    TUTTI_ASSIGN_OR_RETURN(const TensorView* tensor, source_.find_weight(from.stem + ".weight"));
    TUTTI_RETURN_IF_ERROR(check_shape(*tensor, {from.file_rows, from.columns}));
    const bool whole = from.rows.count == from.file_rows;
    TUTTI_ASSIGN_OR_RETURN(
        linear.matrix,
        make_matrix(whole ? *tensor : slice_rows(*tensor, from.rows), from.row_order));
    if (!from.has_bias) return {};
    std::vector<float> bias;
    TUTTI_RETURN_IF_ERROR(read_vector(from.stem + ".bias", from.file_rows, bias));
    const auto begin = bias.begin() + from.rows.first;
    linear.bias = reorder(std::vector<float>(begin, begin + from.rows.count), from.row_order);
    return {};
  }

  Status read_norm(std::string_view name, std::int64_t size, std::vector<float>& norm) {
    return name.empty() ? Status() : read_vector(stem(name) + ".weight", size, norm);
  }

  Status read_norms(LayerWeights& layer) {
    const LayerTensorNames& names = description_.tensor_names.layer;
    const std::int64_t hidden = description_.hidden_size;
    TUTTI_RETURN_IF_ERROR(read_norm(names.pre_attention_norm, hidden, layer.pre_attention_norm));
    TUTTI_RETURN_IF_ERROR(read_norm(names.post_attention_norm, hidden, layer.post_attention_norm));
    TUTTI_RETURN_IF_ERROR(read_norm(names.pre_mlp_norm, hidden, layer.pre_mlp_norm));
    TUTTI_RETURN_IF_ERROR(read_norm(names.post_mlp_norm, hidden, layer.post_mlp_norm));
    const bool per_head = description_.qk_norm == QkNorm::kPerHead;
    const std::int64_t head_dim = description_.head_dim;
    TUTTI_RETURN_IF_ERROR(read_norm(names.q_norm, per_head ? head_dim : q_rows(), layer.q_norm));
    TUTTI_RETURN_IF_ERROR(read_norm(names.k_norm, per_head ? head_dim : kv_rows(), layer.k_norm));
    return {};
  }

  Status read_attention(LayerWeights& layer) {
    const LayerTensorNames& names = description_.tensor_names.layer;
    const std::int64_t hidden = description_.hidden_size;
    const std::int64_t q = q_rows();
    const std::int64_t kv = kv_rows();
    const bool fused = !names.qkv.empty();
    const auto part = [&](std::string_view name, RowRange rows,
                          std::span<const std::int32_t> order) {
      return LinearSource{.stem = stem(fused ? names.qkv : name),
                          .file_rows = fused ? q + 2 * kv : rows.count,
                          .rows = {fused ? rows.first : 0, rows.count},
                          .columns = hidden,
                          .has_bias = description_.qkv_bias,
                          .row_order = order};
    };
    TUTTI_RETURN_IF_ERROR(read_linear(part(names.q, {0, q}, q_order_), layer.q));
    TUTTI_RETURN_IF_ERROR(read_linear(part(names.k, {q, kv}, k_order_), layer.k));
    TUTTI_RETURN_IF_ERROR(read_linear(part(names.v, {q + kv, kv}, {}), layer.v));
    return read_linear({.stem = stem(names.attention_output),
                        .file_rows = hidden,
                        .rows = {0, hidden},
                        .columns = q,
                        .has_bias = description_.output_bias,
                        .row_order = {}},
                       layer.attention_output);
  }

  Status read_mlp(LayerWeights& layer) {
    const LayerTensorNames& names = description_.tensor_names.layer;
    const std::int64_t hidden = description_.hidden_size;
    const std::int64_t width = description_.intermediate_size;
    const bool fused = !names.gate_up.empty();
    const auto part = [&](std::string_view name, std::int64_t first) {
      return LinearSource{.stem = stem(fused ? names.gate_up : name),
                          .file_rows = fused ? 2 * width : width,
                          .rows = {fused ? first : 0, width},
                          .columns = hidden,
                          .has_bias = description_.mlp_bias,
                          .row_order = {}};
    };
    TUTTI_RETURN_IF_ERROR(read_linear(part(names.gate, 0), layer.gate));
    TUTTI_RETURN_IF_ERROR(read_linear(part(names.up, width), layer.up));
    return read_linear({.stem = stem(names.down),
                        .file_rows = hidden,
                        .rows = {0, hidden},
                        .columns = width,
                        .has_bias = description_.mlp_bias,
                        .row_order = {}},
                       layer.down);
  }

  const formats::ModelSource& source_;
  const ModelDescription& description_;
  device::Ops& ops_;
  const LoadProgress& progress_;
  std::vector<std::int32_t> q_order_, k_order_;  // empty: rows stay as they are
  std::string layer_prefix_;
  std::size_t total_bytes_ = 0;
  std::size_t loaded_bytes_ = 0;
  DecoderWeights weights_;
};

}  // namespace

std::vector<std::int32_t> rotary_row_order(int num_heads, int head_dim, int rotary_dim) {
  std::vector<std::int32_t> order;
  for (int head = 0; head < num_heads; ++head) {
    const int first = head * head_dim;
    for (int i = 0; i < rotary_dim; i += 2) order.push_back(first + i);
    for (int i = 1; i < rotary_dim; i += 2) order.push_back(first + i);
    for (int i = rotary_dim; i < head_dim; ++i) order.push_back(first + i);
  }
  return order;
}

Result<DecoderWeights> load_weights(const formats::ModelSource& source,
                                    const ModelDescription& description, device::Ops& ops,
                                    const LoadProgress& progress) {
  return WeightLoader(source, description, ops, progress).load();
}

}  // namespace tutti::model
