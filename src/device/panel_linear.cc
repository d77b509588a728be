#include "device/panel_linear.h"

#include <algorithm>
#include <array>

#include "base/check.h"
#include "base/thread_pool.h"
#include "device/matrix.h"
#include "kernels/float_mode.h"
#include "kernels/kernel_table.h"

namespace tutti::device {
namespace {

using kernels::kBlockInputs;
using kernels::kPanelBlockValues;
using kernels::kPanelOutputs;

// Rows in one pass over the weights: their sums [rows][32] stay in the second-level cache.
constexpr int kMaxRows = 512;
// Blocks of a panel that many rows are multiplied with before the next: 16 KiB of weights, half of
// the first-level cache, beside a row block's activations.
constexpr int kChunkBlocks = 8;
// Activations that one thread packs sooner than two can be woken.
constexpr std::size_t kSmallPack = 16384;

// Of weights, and of their products with rows, in one piece: 32 MiB in bfloat16, and 3 ms of a core
// that does 100 products a nanosecond.
constexpr std::size_t kMaxPieceValues = std::size_t{1} << 24;
constexpr std::size_t kMaxPieceProducts = std::size_t{1} << 28;

constexpr std::size_t kSumBytes = std::size_t{kMaxRows} * kPanelOutputs * sizeof(float);
constexpr std::size_t kChunkBytes = std::size_t{kChunkBlocks} * kPanelBlockValues * 2;

// Outputs [first, first + 32) of a matrix as PanelWeights wants them.
std::array<const std::byte*, kPanelOutputs> panel_rows(const Matrix& matrix, int panel) {
  std::array<const std::byte*, kPanelOutputs> rows{};
  for (int i = 0; i < kPanelOutputs; ++i) {
    const int n = panel * kPanelOutputs + i;
    if (n < matrix.num_outputs()) rows[i] = matrix.row(n);
  }
  return rows;
}

// y[m, first_output + n] = sums[m][n] + bias.
void store_outputs(const Ops::LinearOutput& output, int panel, int num_rows, const float* sums,
                   float* y) {
  const int first = panel * kPanelOutputs;
  const int num_outputs = output.weight->num_outputs();
  const int count = std::min(kPanelOutputs, num_outputs - first);
  for (int m = 0; m < num_rows; ++m, sums += kPanelOutputs) {
    float* row = y + static_cast<std::size_t>(m) * num_outputs + first;
    if (output.bias.empty()) {
      for (int n = 0; n < count; ++n) row[n] = sums[n];
    } else {
      for (int n = 0; n < count; ++n) row[n] = sums[n] + output.bias[first + n];
    }
  }
}

}  // namespace

bool WorkCounter::take(int& begin, int& end) {
  int seen = next_.load(std::memory_order_relaxed);
  do {
    if (seen >= count_) return false;
    begin = seen;
    end = seen + std::clamp((count_ - seen) / (4 * pool_.num_threads()), 1, max_piece_);
  } while (!next_.compare_exchange_weak(seen, end, std::memory_order_relaxed));
  pool_.count_piece();
  return true;
}

int max_panels_a_piece(std::size_t values_a_panel, int num_rows) {
  const std::size_t most =
      std::min(kMaxPieceValues, kMaxPieceProducts / static_cast<std::size_t>(num_rows));
  return static_cast<int>(std::max<std::size_t>(1, most / values_a_panel));
}

struct PanelLinear::Rows {
  int count;  // of this pass
  int first;  // in the caller's x and y
  int num_inputs;
};

PanelLinear::PanelLinear(const kernels::KernelTable& kernels, ThreadPool& pool)
    : kernels_(kernels), pool_(pool) {
  for (int i = 0; i < pool.num_threads(); ++i) scratch_.emplace_back(kSumBytes + kChunkBytes);
}

void PanelLinear::run(std::span<const Ops::LinearOutput> outputs, const float* x, int num_rows,
                      const MakeRows& make_rows) {
  if (outputs.empty() || num_rows == 0) return;
  const int num_inputs = outputs[0].weight->num_inputs();
  int total_panels = 0;
  for (const Ops::LinearOutput& output : outputs) {
    TUTTI_CHECK(output.weight->num_inputs() == num_inputs) << "matrices of one group read one x";
    TUTTI_CHECK(output.bias.empty() ||
                output.bias.size() == static_cast<std::size_t>(output.weight->num_outputs()))
        << "bias of " << output.bias.size() << " for " << output.weight->num_outputs();
    total_panels += kernels::num_panels(output.weight->num_outputs());
  }
  for (int first = 0; first < num_rows; first += kMaxRows) {
    const Rows rows{std::min(kMaxRows, num_rows - first), first, num_inputs};
    const auto make_some = [&](int begin, int end) { make_rows(first + begin, first + end); };
    pack_activations(kernels_, pool_, kSmallPack,
                     {.x = x + static_cast<std::size_t>(first) * num_inputs,
                      .num_rows = rows.count,
                      .num_inputs = num_inputs},
                     make_rows ? MakeRows(make_some) : nullptr, packed_);
    const std::size_t values_a_panel = kernels::panel_values(num_inputs);
    WorkCounter counter(total_panels, pool_, max_panels_a_piece(values_a_panel, rows.count));
    pool_.run([&](int worker) { run_panels(outputs, rows, counter, worker); });
  }
}

void PanelLinear::run_panels(std::span<const Ops::LinearOutput> outputs, const Rows& rows,
                             WorkCounter& counter, int worker) {
  const kernels::ScopedFlushDenormals flush;
  std::byte* scratch = scratch_[static_cast<std::size_t>(worker)].data();
  for (int begin = 0, end = 0; counter.take(begin, end);) {
    for (int index = begin; index < end; ++index) {
      const Ops::LinearOutput* output = outputs.data();
      int panel = index;
      for (; panel >= kernels::num_panels(output->weight->num_outputs()); ++output) {
        panel -= kernels::num_panels(output->weight->num_outputs());
      }
      multiply_panel(*output, panel, rows, scratch);
    }
  }
}

void PanelLinear::multiply_panel(const Ops::LinearOutput& output, int panel, const Rows& rows,
                                 std::byte* scratch) const {
  const Matrix& matrix = *output.weight;
  auto* sums = reinterpret_cast<float*>(scratch);
  auto* unpacked = reinterpret_cast<std::uint16_t*>(scratch + kSumBytes);
  std::fill_n(sums, static_cast<std::size_t>(rows.count) * kPanelOutputs, 0.0f);
  const int total_blocks = kernels::num_blocks(rows.num_inputs);
  const bool whole = matrix.has_panels() && rows.count <= kernels_.row_block;
  const int chunk_blocks = whole ? total_blocks : kChunkBlocks;
  std::array<const std::byte*, kPanelOutputs> stored{};
  if (!matrix.has_panels()) stored = panel_rows(matrix, panel);
  for (int block = 0; block < total_blocks; block += chunk_blocks) {
    const int count = std::min(chunk_blocks, total_blocks - block);
    kernels::PanelProduct product{.packed = packed_.data(),
                                  .num_rows = rows.count,
                                  .total_blocks = total_blocks,
                                  .first_block = block,
                                  .num_blocks = count,
                                  .c = sums};
    if (matrix.has_panels()) {
      product.panel = matrix.panel(panel) + static_cast<std::size_t>(block) * kPanelBlockValues;
      product.prefetch_bytes = static_cast<std::size_t>(count) * kPanelBlockValues * 2;
      if (whole) product.prefetch_apart = kernels_.prefetch_apart;
      product.prefetch =
          reinterpret_cast<const std::byte*>(product.panel) +
          (whole ? static_cast<std::size_t>(kernels_.prefetch_distance) : product.prefetch_bytes);
    } else {
      const int first_input = block * kBlockInputs;
      kernels_.weights_to_panel(
          {.dtype = matrix.dtype(),
           .rows = stored.data(),
           .first_input = first_input,
           .num_inputs = std::min(count * kBlockInputs, rows.num_inputs - first_input),
           .panel = unpacked});
      product.panel = unpacked;
    }
    kernels_.multiply(product);
  }
  float* y = output.y + static_cast<std::size_t>(rows.first) * matrix.num_outputs();
  store_outputs(output, panel, rows.count, sums, y);
}

std::size_t packed_bytes(const Matrix& matrix) {
  return kernels::panel_values(matrix.num_inputs()) *
         static_cast<std::size_t>(kernels::num_panels(matrix.num_outputs())) *
         sizeof(std::uint16_t);
}

LargeBuffer pack_weights(const Matrix& matrix, const kernels::KernelTable& kernels,
                         ThreadPool& pool, BufferArena& arena) {
  const std::size_t values = kernels::panel_values(matrix.num_inputs());
  const int panels = kernels::num_panels(matrix.num_outputs());
  LargeBuffer buffer = arena.take(packed_bytes(matrix));
  WorkCounter counter(panels, pool, max_panels_a_piece(values, 1));
  pool.run([&](int) {
    const kernels::ScopedFlushDenormals flush;
    for (int begin = 0, end = 0; counter.take(begin, end);) {
      for (int panel = begin; panel < end; ++panel) {
        const auto rows = panel_rows(matrix, panel);
        kernels.weights_to_panel({.dtype = matrix.dtype(),
                                  .rows = rows.data(),
                                  .first_input = 0,
                                  .num_inputs = matrix.num_inputs(),
                                  .panel = buffer.as<std::uint16_t>() + values * panel});
      }
    }
  });
  return buffer;
}

}  // namespace tutti::device
