#include "device/reference_ops.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "base/thread_pool.h"
#include "device/large_buffer.h"
#include "device/matrix.h"
#include "tensor/dequantize.h"

namespace tutti::device {
namespace {

// Keys, then values: [layer][block][kv head][position][head_dim] float32.
class ReferenceKvCache final : public KvCache {
 public:
  ReferenceKvCache(const KvShape& shape, int num_blocks)
      : shape_(shape),
        num_blocks_(num_blocks),
        half_(static_cast<std::size_t>(shape.num_layers) * num_blocks * shape.num_kv_heads *
              kBlockSize * shape.head_dim),
        bytes_(2 * half_ * sizeof(float)) {}

  int num_blocks() const override { return num_blocks_; }
  const KvShape& shape() const { return shape_; }

  float* key(int layer, int block, int head, int position) const {
    const std::size_t page =
        (static_cast<std::size_t>(layer) * num_blocks_ + block) * shape_.num_kv_heads + head;
    return bytes_.as<float>() + (page * kBlockSize + position) * shape_.head_dim;
  }
  float* value(int layer, int block, int head, int position) const {
    return key(layer, block, head, position) + half_;
  }

 private:
  KvShape shape_;
  int num_blocks_;
  std::size_t half_;
  LargeBuffer bytes_;
};

double dot(const float* a, const float* b, int count) {
  double sum = 0;
  for (int i = 0; i < count; ++i) sum += static_cast<double>(a[i]) * b[i];
  return sum;
}

class ReferenceOps final : public Ops {
 public:
  explicit ReferenceOps(const Options& options) : isa_(options.isa), pool_(options.num_threads) {}

  ComputeClass compute_class() const override { return ComputeClass::kF32; }
  Isa isa() const override { return isa_; }
  ThreadPool& pool() override { return pool_; }

  Result<MatrixPtr> make_matrix(const TensorView& weight,
                                std::span<const std::int32_t> row_order) override {
    TUTTI_ASSIGN_OR_RETURN(Matrix matrix, Matrix::of(weight, row_order));
    return MatrixPtr(new Matrix(std::move(matrix)));
  }

  std::size_t weight_bytes(const TensorView& weight) const override {
    return weight.bytes.size() + row_order_bytes(weight);
  }
  std::size_t owned_bytes(const Matrix& matrix) const override { return matrix.owned_bytes(); }
  bool reads_file(const Matrix& matrix) const override { return matrix.reads_file(); }

  void linear(const Matrix& weight, const float* x, int num_rows, float* y,
              std::span<const float> bias) override {
    const int num_inputs = weight.num_inputs();
    const int num_outputs = weight.num_outputs();
    pool_.parallel_for(num_outputs, 1, [&](std::size_t begin, std::size_t end) {
      std::vector<float> row(num_inputs);
      for (std::size_t n = begin; n < end; ++n) {
        dequantize_row(weight.dtype(), weight.row(n), num_inputs, row.data());
        const double start = bias.empty() ? 0.0 : bias[n];
        for (int m = 0; m < num_rows; ++m) {
          const float* x_row = x + static_cast<std::size_t>(m) * num_inputs;
          y[static_cast<std::size_t>(m) * num_outputs + n] =
              static_cast<float>(start + dot(x_row, row.data(), num_inputs));
        }
        pool_.count_piece();
      }
    });
  }

  void linear_group(std::span<const LinearOutput> outputs, const float* x, int num_rows) override {
    for (const LinearOutput& output : outputs) {
      linear(*output.weight, x, num_rows, output.y, output.bias);
    }
  }

  void add_norm_linear(std::span<const LinearOutput> outputs, const ResidualRows& rows,
                       int num_rows) override {
    if (outputs.empty()) return;
    add_and_norm(rows, num_rows, outputs[0].weight->num_inputs());
    linear_group(outputs, rows.input(), num_rows);
  }

  void silu_mul_linear(const LinearOutput& output, float* gate, const float* up,
                       int num_rows) override {
    silu_mul(gate, up, num_rows, output.weight->num_inputs(), gate);
    linear(*output.weight, gate, num_rows, output.y, output.bias);
  }

  void embed(const Matrix& table, std::span<const TokenId> tokens, float scale, float* y) override {
    const int width = table.num_inputs();
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      TUTTI_CHECK(tokens[i] >= 0 && tokens[i] < table.num_outputs()) << "token " << tokens[i];
      float* row = y + i * width;
      dequantize_row(table.dtype(), table.row(tokens[i]), width, row);
      for (int k = 0; k < width; ++k) row[k] *= scale;
    }
  }

  void rms_norm(const float* x, int num_rows, int width, std::span<const float> weight,
                float epsilon, float* y) override {
    TUTTI_CHECK(weight.size() == static_cast<std::size_t>(width)) << weight.size() << " " << width;
    for (int m = 0; m < num_rows; ++m, x += width, y += width) {
      const double inverse = 1.0 / std::sqrt(dot(x, x, width) / width + epsilon);
      for (int i = 0; i < width; ++i) y[i] = static_cast<float>(x[i] * inverse * weight[i]);
    }
  }

  void rope(float* x, std::span<const Position> positions, int num_heads, int head_dim,
            const RopeTable& table) override {
    const int half = table.half_dim;
    for (const Position position : positions) {
      TUTTI_CHECK(position >= 0 && position < table.num_positions) << "position " << position;
      const float* cosine = table.cos.data() + static_cast<std::size_t>(position) * half;
      const float* sine = table.sin.data() + static_cast<std::size_t>(position) * half;
      for (int head = 0; head < num_heads; ++head, x += head_dim) {
        for (int i = 0; i < half; ++i) {
          const float low = x[i];
          const float high = x[i + half];
          x[i] = low * cosine[i] - high * sine[i];
          x[i + half] = high * cosine[i] + low * sine[i];
        }
      }
    }
  }

  void silu_mul(const float* gate, const float* up, int num_rows, int width, float* y) override {
    const std::size_t count = static_cast<std::size_t>(num_rows) * width;
    for (std::size_t i = 0; i < count; ++i) {
      y[i] = gate[i] / (1.0f + std::exp(-gate[i])) * up[i];
    }
  }

  void add_scaled(float* x, const float* y, float scale, std::size_t count) override {
    for (std::size_t i = 0; i < count; ++i) x[i] += scale * y[i];
  }

  Result<std::unique_ptr<KvCache>> make_kv_cache(const KvShape& shape, int num_blocks) override {
    return std::unique_ptr<KvCache>(std::make_unique<ReferenceKvCache>(shape, num_blocks));
  }

  std::size_t kv_block_bytes(const KvShape& shape) const override {
    return std::size_t{2} * shape.num_layers * shape.num_kv_heads * shape.head_dim * kBlockSize *
           sizeof(float);
  }

  void store_kv(KvCache& cache, int layer, const float* k, const float* v,
                std::span<const SlotId> slots) override {
    auto& reference = static_cast<ReferenceKvCache&>(cache);
    const KvShape& shape = reference.shape();
    for (const SlotId slot : slots) {
      const int block = static_cast<int>(slot.value / kBlockSize);
      const int position = static_cast<int>(slot.value % kBlockSize);
      TUTTI_CHECK(slot.value >= 0 && block < reference.num_blocks()) << "slot " << slot.value;
      for (int head = 0; head < shape.num_kv_heads; ++head) {
        std::copy_n(k, shape.head_dim, reference.key(layer, block, head, position));
        std::copy_n(v, shape.head_dim, reference.value(layer, block, head, position));
        k += shape.head_dim;
        v += shape.head_dim;
      }
    }
  }

  void copy_kv(KvCache& cache, BlockId from, BlockId to, int num_positions) override {
    auto& reference = static_cast<ReferenceKvCache&>(cache);
    const KvShape& shape = reference.shape();
    check_copy(reference, from, to, num_positions);
    const std::size_t count = static_cast<std::size_t>(num_positions) * shape.head_dim;
    for (int layer = 0; layer < shape.num_layers; ++layer) {
      for (int head = 0; head < shape.num_kv_heads; ++head) {
        std::copy_n(reference.key(layer, from.value, head, 0), count,
                    reference.key(layer, to.value, head, 0));
        std::copy_n(reference.value(layer, from.value, head, 0), count,
                    reference.value(layer, to.value, head, 0));
      }
    }
  }

  void save_kv(const KvCache& cache, BlockId block, std::span<std::byte> bytes) override {
    const auto& reference = static_cast<const ReferenceKvCache&>(cache);
    check_block(cache, block, bytes.size(), kv_block_bytes(reference.shape()));
    for_pages(reference, block, [&](float* page, std::size_t offset, std::size_t size) {
      std::memcpy(bytes.data() + offset, page, size);
    });
  }

  void load_kv(KvCache& cache, BlockId block, std::span<const std::byte> bytes) override {
    const auto& reference = static_cast<const ReferenceKvCache&>(cache);
    check_block(cache, block, bytes.size(), kv_block_bytes(reference.shape()));
    for_pages(reference, block, [&](float* page, std::size_t offset, std::size_t size) {
      std::memcpy(page, bytes.data() + offset, size);
    });
  }

  void attention(const KvCache& cache, const AttentionArgs& args, const float* q,
                 float* out) override {
    const auto& reference = static_cast<const ReferenceKvCache&>(cache);
    const std::size_t row_width =
        static_cast<std::size_t>(args.num_heads) * reference.shape().head_dim;
    for (const AttentionSequence& sequence : args.sequences) {
      const std::size_t count = static_cast<std::size_t>(sequence.num_rows) * args.num_heads;
      pool_.parallel_for(count, 1, [&](std::size_t begin, std::size_t end) {
        for (std::size_t i = begin; i < end; ++i) {
          const int row = static_cast<int>(i / args.num_heads);
          const int head = static_cast<int>(i % args.num_heads);
          const std::size_t offset = (sequence.first_row + row) * row_width +
                                     static_cast<std::size_t>(head) * reference.shape().head_dim;
          attend(reference, args, sequence, {row, head}, {q + offset, out + offset});
          pool_.count_piece();
        }
      });
    }
  }

 private:
  struct RowAndHead {
    int row, head;
  };
  struct QueryAndOutput {
    const float* q;
    float* out;
  };

  // A block's pages of keys and of values: `use(page, its offset in the saved bytes, its bytes)`.
  static void for_pages(const ReferenceKvCache& cache, BlockId block, auto&& use) {
    const KvShape& shape = cache.shape();
    const std::size_t size = sizeof(float) * kBlockSize * shape.head_dim;
    std::size_t offset = 0;
    for (int layer = 0; layer < shape.num_layers; ++layer) {
      for (int head = 0; head < shape.num_kv_heads; ++head) {
        use(cache.key(layer, block.value, head, 0), offset, size);
        use(cache.value(layer, block.value, head, 0), offset + size, size);
        offset += 2 * size;
      }
    }
  }

  static void attend(const ReferenceKvCache& cache, const AttentionArgs& args,
                     const AttentionSequence& sequence, RowAndHead where, QueryAndOutput data) {
    const KvShape& shape = cache.shape();
    const int kv_head = where.head / (args.num_heads / shape.num_kv_heads);
    const Position last = sequence.first_position + where.row;
    const Position first =
        args.sliding_window > 0 ? std::max(last - args.sliding_window + 1, 0) : 0;
    std::vector<double> scores;
    double largest = -HUGE_VAL;
    for (Position position = first; position <= last; ++position) {
      const int block = sequence.block_table[position / kBlockSize].value;
      const float* key = cache.key(args.layer, block, kv_head, position % kBlockSize);
      scores.push_back(dot(data.q, key, shape.head_dim) * args.scale);
      largest = std::max(largest, scores.back());
    }
    double sum = 0;
    std::vector<double> result(shape.head_dim, 0.0);
    for (Position position = first; position <= last; ++position) {
      const double weight = std::exp(scores[position - first] - largest);
      const int block = sequence.block_table[position / kBlockSize].value;
      const float* value = cache.value(args.layer, block, kv_head, position % kBlockSize);
      sum += weight;
      for (int d = 0; d < shape.head_dim; ++d) result[d] += weight * value[d];
    }
    for (int d = 0; d < shape.head_dim; ++d) data.out[d] = static_cast<float>(result[d] / sum);
  }

  Isa isa_;
  ThreadPool pool_;
};

}  // namespace

std::unique_ptr<Ops> make_reference_ops(const Ops::Options& options) {
  return std::make_unique<ReferenceOps>(options);
}

}  // namespace tutti::device
