// The law of the q8 class in plain scalar code. Packed rows are [rows][groups] Q8Group.
#include <cmath>

#include "kernels/q8_law.h"

namespace tutti::kernels {
namespace {

constexpr int kRowBlock = 4;

std::size_t packed_bytes(int num_rows, int num_inputs) {
  return static_cast<std::size_t>(num_rows) * (num_inputs / kQ8GroupInputs) * sizeof(Q8Group);
}

void pack_rows(const PackRows& job) {
  const int groups = job.num_inputs / kQ8GroupInputs;
  auto* packed = static_cast<Q8Group*>(job.packed);
  for (int m = job.first_row_block * kRowBlock;
       m < job.last_row_block * kRowBlock && m < job.num_rows; ++m) {
    for (int group = job.first_input / kQ8GroupInputs; group < job.inputs_end() / kQ8GroupInputs;
         ++group) {
      packed[static_cast<std::size_t>(m) * groups + group] =
          quantize_group(job.x + m * job.row_stride + group * kQ8GroupInputs);
    }
  }
}

std::size_t scratch_bytes(int /*num_rows*/, int /*num_inputs*/) { return 0; }

float add_group(const Q8TileOutput& weights, const Q8Group& x, bool has_minimum, float y) {
  std::int32_t halves[2] = {};
  for (int k = 0; k < kQ8GroupInputs; ++k) halves[k / kQ8HalfInputs] += weights.weights[k] * x.q[k];
  const std::int32_t dot = weights.half_scales[0] * halves[0] + weights.half_scales[1] * halves[1];
  y = std::fmaf(static_cast<float>(dot), weights.scale * x.scale, y);
  if (!has_minimum) return y;
  return std::fmaf(weights.minimum, x.scale * static_cast<float>(x.sum), y);
}

void multiply(const QuantizedProduct& job) {
  const Q8Format format = q8_format(job.dtype);
  const int groups = job.num_inputs / kQ8GroupInputs;
  const std::size_t panel_bytes = q8_panel_bytes(job.dtype, job.num_inputs);
  const auto* packed = static_cast<const Q8Group*>(job.packed);
  for (int n = 0; n < job.num_outputs; ++n) {
    const std::byte* panel = job.panels + panel_bytes * (n / kQ8PanelOutputs);
    for (int m = 0; m < job.num_rows; ++m) job.y[m * job.row_stride + n] = 0.0f;
    for (int group = 0; group < groups; ++group) {
      const Q8TileOutput weights = q8_tile_output(format, panel, group, n % kQ8PanelOutputs);
      for (int m = 0; m < job.num_rows; ++m) {
        float& y = job.y[m * job.row_stride + n];
        y = add_group(weights, packed[static_cast<std::size_t>(m) * groups + group],
                      format.has_minimum, y);
      }
    }
  }
}

}  // namespace

const QuantizedKernels& ref_q8_kernels() {
  static constexpr QuantizedKernels kTable = q8_table(kRowBlock, {.packed_bytes = packed_bytes,
                                                                  .pack_rows = pack_rows,
                                                                  .scratch_bytes = scratch_bytes,
                                                                  .multiply = multiply});
  return kTable;
}

}  // namespace tutti::kernels
