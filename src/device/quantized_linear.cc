#include "device/quantized_linear.h"

#include <algorithm>
#include <array>

#include "base/check.h"
#include "base/thread_pool.h"
#include "device/matrix.h"
#include "device/panel_linear.h"
#include "kernels/float_mode.h"
#include "kernels/quantized_kernels.h"

namespace tutti::device {
namespace {

constexpr int kMaxPanelOutputs = 64;
// Activations that one thread packs sooner than two can be woken.
constexpr std::size_t kSmallPack = 8192;
// Bytes of a file that are packed before their pages are given back.
constexpr std::size_t kSlabBytes = std::size_t{32} << 20;

int panels_of(const Matrix& matrix, const kernels::QuantizedKernels& kernels) {
  return (matrix.num_outputs() + kernels.panel_outputs - 1) / kernels.panel_outputs;
}

}  // namespace

struct QuantizedLinear::Rows {
  int count;  // of this pass
  int first;  // in the caller's x and y
  int num_inputs;
};

QuantizedLinear::QuantizedLinear(const kernels::QuantizedKernels& kernels, ThreadPool& pool)
    : kernels_(kernels), pool_(pool), scratch_(static_cast<std::size_t>(pool.num_threads())) {
  TUTTI_CHECK(kernels.panel_outputs <= kMaxPanelOutputs) << kernels.panel_outputs;
}

void QuantizedLinear::run(std::span<const Ops::LinearOutput> outputs, const float* x, int num_rows,
                          const MakeRows& make_rows) {
  if (outputs.empty() || num_rows == 0) return;
  const int num_inputs = outputs[0].weight->num_inputs();
  int total_panels = 0;
  for (const Ops::LinearOutput& output : outputs) {
    TUTTI_CHECK(output.weight->num_inputs() == num_inputs) << "matrices of one group read one x";
    TUTTI_CHECK(output.bias.empty() ||
                output.bias.size() == static_cast<std::size_t>(output.weight->num_outputs()))
        << "bias of " << output.bias.size() << " for " << output.weight->num_outputs();
    total_panels += panels_of(*output.weight, kernels_);
  }
  const int rows_at_once = std::min(num_rows, kernels::kMaxQuantizedRows);
  const std::size_t scratch_bytes = kernels_.scratch_bytes(rows_at_once, num_inputs);
  for (LargeBuffer& scratch : scratch_) {
    if (scratch.size() < scratch_bytes) scratch = LargeBuffer(scratch_bytes);
  }
  for (int first = 0; first < num_rows; first += kernels::kMaxQuantizedRows) {
    const Rows rows{std::min(kernels::kMaxQuantizedRows, num_rows - first), first, num_inputs};
    const auto make_some = [&](int begin, int end) { make_rows(first + begin, first + end); };
    pack_activations(kernels_, pool_, kSmallPack,
                     {.x = x + static_cast<std::size_t>(first) * num_inputs,
                      .num_rows = rows.count,
                      .num_inputs = num_inputs},
                     make_rows ? MakeRows(make_some) : nullptr, packed_);
    const std::size_t values_a_panel =
        static_cast<std::size_t>(kernels_.panel_outputs) * num_inputs;
    WorkCounter counter(total_panels, pool_, max_panels_a_piece(values_a_panel, rows.count));
    pool_.run([&](int worker) {
      const kernels::ScopedFlushDenormals flush;
      for (int begin = 0, end = 0; counter.take(begin, end);) {
        // A piece may hold the end of one matrix and the beginning of the next.
        int offset = 0;
        for (const Ops::LinearOutput& output : outputs) {
          const int count = panels_of(*output.weight, kernels_);
          const int from = std::max(begin - offset, 0);
          const int to = std::min(end - offset, count);
          if (from < to) multiply_panels(output, from, to, rows, worker);
          offset += count;
        }
      }
    });
  }
}

// Panels [begin, end) of one matrix.
void QuantizedLinear::multiply_panels(const Ops::LinearOutput& output, int begin, int end,
                                      const Rows& rows, int worker) const {
  const Matrix& matrix = *output.weight;
  const int first = begin * kernels_.panel_outputs;
  const int count = std::min(end * kernels_.panel_outputs, matrix.num_outputs()) - first;
  float* y = output.y + static_cast<std::size_t>(rows.first) * matrix.num_outputs() + first;
  kernels_.multiply({.dtype = matrix.dtype(),
                     .panels = matrix.quantized_panel(begin),
                     .num_panels = end - begin,
                     .num_outputs = count,
                     .packed = packed_.data(),
                     .num_rows = rows.count,
                     .num_inputs = rows.num_inputs,
                     .y = y,
                     .row_stride = matrix.num_outputs(),
                     .scratch = scratch_[static_cast<std::size_t>(worker)].data()});
  if (output.bias.empty()) return;
  for (int m = 0; m < rows.count; ++m, y += matrix.num_outputs()) {
    for (int n = 0; n < count; ++n) y[n] = y[n] + output.bias[first + n];
  }
}

std::size_t quantized_bytes(const Matrix& matrix, const kernels::QuantizedKernels& kernels) {
  return kernels.panel_bytes(matrix.dtype(), matrix.num_inputs()) *
         static_cast<std::size_t>(panels_of(matrix, kernels));
}

void quantize_matrix(Matrix& matrix, const TensorView& weight,
                     const kernels::QuantizedKernels& kernels, ThreadPool& pool,
                     BufferArena& arena) {
  const std::size_t stride = kernels.panel_bytes(matrix.dtype(), matrix.num_inputs());
  const int num_panels = panels_of(matrix, kernels);
  LargeBuffer buffer = arena.take(stride * num_panels);
  const std::size_t row_bytes = weight.bytes.size() / matrix.num_outputs();
  const std::size_t panel_file_bytes = row_bytes * kernels.panel_outputs;
  const int slab = static_cast<int>(std::max<std::size_t>(1, kSlabBytes / panel_file_bytes));
  for (int first = 0; first < num_panels; first += slab) {
    const int count = std::min(slab, num_panels - first);
    WorkCounter counter(count, pool, count);
    pool.run([&](int) {
      const kernels::ScopedFlushDenormals flush;
      std::array<const std::byte*, kMaxPanelOutputs> rows;
      for (int begin = 0, end = 0; counter.take(begin, end);) {
        for (int panel = first + begin; panel < first + end; ++panel) {
          for (int i = 0; i < kernels.panel_outputs; ++i) {
            const int n = panel * kernels.panel_outputs + i;
            rows[i] = n < matrix.num_outputs() ? matrix.row(n) : nullptr;
          }
          kernels.pack_weights({.dtype = matrix.dtype(),
                                .rows = rows.data(),
                                .num_inputs = matrix.num_inputs(),
                                .panel = buffer.data() + stride * panel});
        }
      }
    });
    const std::size_t done = std::min(weight.bytes.size(), panel_file_bytes * (first + count));
    const std::size_t from = panel_file_bytes * first;
    release_file_pages(weight.bytes.subspan(from, done - from));
  }
  matrix.set_quantized(kernels, std::move(buffer));
}

}  // namespace tutti::device
