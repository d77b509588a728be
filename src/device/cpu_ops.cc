#include "device/cpu_ops.h"

#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <functional>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/checksum.h"
#include "base/thread_pool.h"
#include "device/isa.h"
#include "device/matrix.h"
#include "device/paged_attention.h"
#include "device/panel_linear.h"
#include "device/quantized_linear.h"
#include "device/repack_cache.h"
#include "device/two_part_linear.h"
#include "kernels/bf16_law.h"
#include "kernels/float_mode.h"
#include "kernels/kernel_table.h"
#include "kernels/panel.h"
#include "kernels/quantized_kernels.h"
#include "tensor/dequantize.h"

namespace tutti::device {
namespace {

// Values below which an operation is done on the caller's thread: waking the others costs about
// as much.
constexpr std::size_t kSmallWork = 8192;

// Rows of `width` values that make a piece worth handing to another thread.
std::size_t rows_a_piece(std::size_t width) {
  return std::max<std::size_t>(1, kSmallWork / std::max<std::size_t>(width, 1));
}

class CpuOps final : public Ops {
 public:
  explicit CpuOps(const Options& options)
      : compute_class_(options.compute_class),
        repack_cache_(options.repack_cache),
        isa_(options.isa),
        kernels_(kernels_of(options.isa)),
        pool_(options.num_threads),
        linear_(kernels_, pool_),
        two_part_linear_(*quantized_kernels_of(ComputeClass::kQ8, isa_), pool_),
        attention_(kernels_, pool_, options.kv_dtype) {
    for (const ComputeClass of_integers : {ComputeClass::kQ8, ComputeClass::kInt8}) {
      quantized_linears_.emplace_back(*quantized_kernels_of(of_integers, isa_), pool_);
    }
  }

  ComputeClass compute_class() const override { return compute_class_; }
  Isa isa() const override { return isa_; }
  ThreadPool& pool() override { return pool_; }

  // What the class keeps as integers becomes panels of them. Of the rest, plain types become panels
  // of bf16; quantised ones stay where they are mapped, as they are smaller there, and become
  // panels in cache.
  Result<MatrixPtr> make_matrix(const TensorView& weight,
                                std::span<const std::int32_t> row_order) override {
    TUTTI_ASSIGN_OR_RETURN(Matrix matrix, Matrix::of(weight, row_order));
    const kernels::QuantizedKernels* quantized =
        quantized_kernels_for(weight.dtype, compute_class_, isa_);
    if (quantized != nullptr) {
      load_quantized(weight, row_order, *quantized, matrix);
    } else if (!is_quantized(weight.dtype)) {
      matrix.set_panels(pack_weights(matrix, kernels_, pool_, arena_));
      release_file_pages(weight.bytes);
    }
    return MatrixPtr(new Matrix(std::move(matrix)));
  }

  std::size_t weight_bytes(const TensorView& weight) const override {
    const auto matrix = Matrix::of(weight, {});
    if (!matrix.ok()) return weight.bytes.size();  // it will be refused
    const kernels::QuantizedKernels* quantized =
        quantized_kernels_for(weight.dtype, compute_class_, isa_);
    std::size_t bytes = weight.bytes.size();
    if (quantized != nullptr) {
      bytes = quantized_bytes(*matrix, *quantized) + BufferArena::kAlignment;
    } else if (!is_quantized(weight.dtype)) {
      bytes = packed_bytes(*matrix) + BufferArena::kAlignment;
    }
    return bytes + row_order_bytes(weight);
  }
  std::size_t owned_bytes(const Matrix& matrix) const override { return matrix.owned_bytes(); }
  bool reads_file(const Matrix& matrix) const override { return matrix.reads_file(); }

  void linear(const Matrix& weight, const float* x, int num_rows, float* y,
              std::span<const float> bias) override {
    const LinearOutput output{&weight, y, bias};
    linear_group({&output, 1}, x, num_rows);
  }

  void linear_group(std::span<const LinearOutput> outputs, const float* x, int num_rows) override {
    run_linear(outputs, x, num_rows, nullptr);
  }

  void add_norm_linear(std::span<const LinearOutput> outputs, const ResidualRows& rows,
                       int num_rows) override {
    if (outputs.empty()) return;
    const int width = outputs[0].weight->num_inputs();
    for (const std::span<const float> norm : {rows.pre_norm, rows.post_norm}) {
      TUTTI_CHECK(norm.empty() || norm.size() == static_cast<std::size_t>(width))
          << norm.size() << " " << width;
    }
    run_linear(outputs, rows.input(), num_rows, [&](int first, int last) {
      for (int row = first; row < last; ++row) add_and_norm_row(rows, row, width);
    });
  }

  void silu_mul_linear(const LinearOutput& output, float* gate, const float* up,
                       int num_rows) override {
    const auto width = static_cast<std::size_t>(output.weight->num_inputs());
    run_linear({&output, 1}, gate, num_rows, [&](int first, int last) {
      const std::size_t begin = first * width;
      kernels_.silu_mul(gate + begin, up + begin, (last - first) * width, gate + begin);
    });
  }

  void embed(const Matrix& table, std::span<const TokenId> tokens, float scale, float* y) override {
    const int width = table.num_inputs();
    for_rows(tokens.size(), width, [&](std::size_t i) {
      TUTTI_CHECK(tokens[i] >= 0 && tokens[i] < table.num_outputs()) << "token " << tokens[i];
      float* row = y + i * width;
      if (table.is_quantized()) {
        table.unpack_quantized_row(tokens[i], row);
        for (int k = 0; k < width; ++k) row[k] = row[k] * scale;
        return;
      }
      if (table.has_panels()) {
        const std::uint16_t* panel = table.panel(tokens[i] / kernels::kPanelOutputs);
        const int output = tokens[i] % kernels::kPanelOutputs;
        for (int k = 0; k < width; ++k) {
          row[k] = kernels::bf16_to_float(panel[kernels::panel_index(output, k)]) * scale;
        }
        return;
      }
      dequantize_row(table.dtype(), table.row(tokens[i]), width, row);
      for (int k = 0; k < width; ++k) {
        row[k] = kernels::bf16_to_float(kernels::round_to_bf16(row[k])) * scale;
      }
    });
  }

  void rms_norm(const float* x, int num_rows, int width, std::span<const float> weight,
                float epsilon, float* y) override {
    TUTTI_CHECK(weight.size() == static_cast<std::size_t>(width)) << weight.size() << " " << width;
    for_rows(num_rows, width, [&](std::size_t row) {
      kernels_.rms_norm(x + row * width, width, weight.data(), epsilon, y + row * width);
    });
  }

  void rope(float* x, std::span<const Position> positions, int num_heads, int head_dim,
            const RopeTable& table) override {
    const std::size_t width = static_cast<std::size_t>(num_heads) * head_dim;
    TUTTI_CHECK(2 * table.half_dim <= head_dim) << table.half_dim << " " << head_dim;
    for_rows(positions.size(), width, [&](std::size_t row) {
      const Position position = positions[row];
      TUTTI_CHECK(position >= 0 && position < table.num_positions) << "position " << position;
      const std::size_t offset = static_cast<std::size_t>(position) * table.half_dim;
      const float* cos_sin[2] = {table.cos.data() + offset, table.sin.data() + offset};
      kernels_.rope(x + row * width, num_heads, head_dim, table.half_dim, cos_sin);
    });
  }

  void silu_mul(const float* gate, const float* up, int num_rows, int width, float* y) override {
    for_pieces(static_cast<std::size_t>(num_rows) * width, [&](std::size_t begin, std::size_t n) {
      kernels_.silu_mul(gate + begin, up + begin, n, y + begin);
    });
  }

  void add_scaled(float* x, const float* y, float scale, std::size_t count) override {
    for_pieces(count, [&](std::size_t begin, std::size_t n) {
      kernels_.add_scaled(x + begin, y + begin, scale, n);
    });
  }

  Result<std::unique_ptr<KvCache>> make_kv_cache(const KvShape& shape, int num_blocks) override {
    return attention_.make_cache(shape, num_blocks);
  }

  std::size_t kv_block_bytes(const KvShape& shape) const override {
    return attention_.block_bytes(shape);
  }

  void copy_kv(KvCache& cache, BlockId from, BlockId to, int num_positions) override {
    attention_.copy(cache, from, to, num_positions);
  }

  void save_kv(const KvCache& cache, BlockId block, std::span<std::byte> bytes) override {
    attention_.save(cache, block, bytes);
  }

  void load_kv(KvCache& cache, BlockId block, std::span<const std::byte> bytes) override {
    attention_.load(cache, block, bytes);
  }

  void store_kv(KvCache& cache, int layer, const float* k, const float* v,
                std::span<const SlotId> slots) override {
    attention_.store(cache, layer, {k, v}, slots);
  }

  void attention(const KvCache& cache, const AttentionArgs& args, const float* q,
                 float* out) override {
    attention_.run(cache, args, q, out);
  }

 private:
  // Outputs of any kernels; the first product makes the rows.
  void run_linear(std::span<const LinearOutput> outputs, const float* x, int num_rows,
                  const MakeRows& make_rows) {
    if (outputs.empty()) return;
    const auto kernels_of_output = [](const LinearOutput& output) {
      return output.weight->quantized_kernels();
    };
    const auto of_others = [&](const LinearOutput& output) {
      return kernels_of_output(output) != kernels_of_output(outputs[0]);
    };
    if (std::ranges::none_of(outputs, of_others)) {
      return multiply(outputs, x, num_rows, make_rows);
    }
    std::vector<LinearOutput> sorted(outputs.begin(), outputs.end());
    std::ranges::stable_sort(sorted, std::less<>(), kernels_of_output);
    for (auto begin = sorted.begin(); begin != sorted.end();) {
      const auto end = std::find_if(begin, sorted.end(), [&](const LinearOutput& output) {
        return kernels_of_output(output) != kernels_of_output(*begin);
      });
      multiply({begin, end}, x, num_rows, begin == sorted.begin() ? make_rows : nullptr);
      begin = end;
    }
  }

  // All outputs' matrices are quantised by the same kernels, or are not.
  void multiply(std::span<const LinearOutput> outputs, const float* x, int num_rows,
                const MakeRows& make_rows) {
    const kernels::QuantizedKernels* kernels = outputs[0].weight->quantized_kernels();
    if (outputs[0].wide_activations && two_part_linear_.suits(*outputs[0].weight)) {
      TUTTI_CHECK(outputs.size() == 1) << "wide activations in a group";
      return two_part_linear_.run(outputs[0], x, num_rows, make_rows);
    }
    for (QuantizedLinear& linear : quantized_linears_) {
      if (&linear.kernels() == kernels) return linear.run(outputs, x, num_rows, make_rows);
    }
    linear_.run(outputs, x, num_rows, make_rows);
  }

  // add_and_norm of one row.
  void add_and_norm_row(const ResidualRows& rows, int row, int width) {
    float* hidden = rows.hidden + static_cast<std::size_t>(row) * width;
    float* block = rows.block + static_cast<std::size_t>(row) * width;
    if (rows.has_residual) {
      if (!rows.post_norm.empty()) {
        kernels_.rms_norm(block, width, rows.post_norm.data(), rows.epsilon, block);
      }
      kernels_.add_scaled(hidden, block, rows.scale, width);
    }
    if (rows.pre_norm.empty()) return;
    kernels_.rms_norm(hidden, width, rows.pre_norm.data(), rows.epsilon, block);
  }

  // Panels from the cache, or made from the file and put there.
  void load_quantized(const TensorView& weight, std::span<const std::int32_t> row_order,
                      const kernels::QuantizedKernels& kernels, Matrix& matrix) {
    if (repack_cache_ == nullptr) return quantize_matrix(matrix, weight, kernels, pool_, arena_);
    const std::string name =
        fmt::format("{} {} {} {:x}", weight.name, to_string(weight.dtype),
                    shape_to_string(weight.shape), checksum_of(std::as_bytes(row_order)));
    const std::size_t num_bytes = quantized_bytes(matrix, kernels);
    if (CachedPanels cached = repack_cache_->find(name, num_bytes); cached.file != nullptr) {
      return matrix.set_quantized(kernels, std::move(cached));
    }
    quantize_matrix(matrix, weight, kernels, pool_, arena_);
    repack_cache_->put(name, {matrix.quantized_panel(0), num_bytes});
  }

  // job(row) for every row.
  template <typename Job>
  void for_rows(std::size_t num_rows, std::size_t width, const Job& job) {
    pool_.parallel_for(num_rows, rows_a_piece(width), [&](std::size_t begin, std::size_t end) {
      const kernels::ScopedFlushDenormals flush;
      for (std::size_t row = begin; row < end; ++row) job(row);
    });
  }

  // job(begin, length) over [0, count).
  template <typename Job>
  void for_pieces(std::size_t count, const Job& job) {
    pool_.parallel_for(count, kSmallWork, [&](std::size_t begin, std::size_t end) {
      const kernels::ScopedFlushDenormals flush;
      job(begin, end - begin);
    });
  }

  ComputeClass compute_class_;
  std::shared_ptr<RepackCache> repack_cache_;  // null: none
  Isa isa_;
  const kernels::KernelTable& kernels_;
  ThreadPool pool_;
  BufferArena arena_;  // of the weights
  PanelLinear linear_;
  TwoPartLinear two_part_linear_;
  std::deque<QuantizedLinear> quantized_linears_;  // of the classes q8 and int8
  PagedAttention attention_;
};

}  // namespace

std::unique_ptr<Ops> make_cpu_ops(const Ops::Options& options) {
  return std::make_unique<CpuOps>(options);
}

}  // namespace tutti::device
