// The law of the bf16 class in plain scalar code: what every other table is tested against.
// Packed rows are row-major bf16.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "kernels/bf16_law.h"
#include "kernels/kernel_table.h"
#include "kernels/ref/ref_attention.h"
#include "tensor/dequantize.h"

namespace tutti::kernels {
namespace {

constexpr int kRowBlock = 4;

std::size_t packed_bytes(int num_rows, int num_inputs) {
  return static_cast<std::size_t>(num_rows) * num_blocks(num_inputs) * kBlockInputs *
         sizeof(std::uint16_t);
}

void pack_rows(const PackRows& job) {
  const int padded = num_blocks(job.num_inputs) * kBlockInputs;
  const int last_row = std::min(job.last_row_block * kRowBlock, job.num_rows);
  for (int row = job.first_row_block * kRowBlock; row < last_row; ++row) {
    const float* x = job.x + row * job.row_stride;
    auto* packed = static_cast<std::uint16_t*>(job.packed) + static_cast<std::size_t>(row) * padded;
    const int end = std::min(num_blocks(job.inputs_end()) * kBlockInputs, padded);
    for (int k = job.first_input; k < end; ++k)
      packed[k] = k < job.num_inputs ? round_to_bf16(x[k]) : 0;
  }
}

void multiply(const PanelProduct& job) {
  const auto* x = static_cast<const std::uint16_t*>(job.packed);
  for (int index = 0; index < job.num_panels * job.num_rows; ++index) {
    const int panel = index / job.num_rows;
    const int row = index % job.num_rows;
    for (int block = 0; block < job.num_blocks; ++block) {
      const std::size_t x_block =
          static_cast<std::size_t>(row) * job.total_blocks + job.first_block + block;
      const std::uint16_t* weights = job.panel + panel * job.panel_stride +
                                     static_cast<std::size_t>(block) * kPanelBlockValues;
      float* c = job.c + panel * job.c_stride + row * kPanelOutputs;
      const bool is_first = job.from_zero && block == 0;
      for (int n = 0; n < kPanelOutputs; ++n) {
        c[n] = (is_first ? 0.0f : c[n]) + block_sum(x + x_block * kBlockInputs, [&](int k) {
                 return bf16_to_float(weights[panel_index(n, k)]);
               });
      }
    }
  }
}

void weights_to_panel(const PanelWeights& job) {
  const DTypeInfo& type = dtype_info(job.dtype);
  const std::size_t offset =
      static_cast<std::size_t>(job.first_input / type.block_size) * type.block_bytes;
  const int padded = num_blocks(job.num_inputs) * kBlockInputs;
  std::array<float, 256> values;  // whole blocks of every type
  for (int n = 0; n < kPanelOutputs; ++n) {
    const std::byte* row = job.rows[n];
    for (int begin = 0; begin < padded; begin += static_cast<int>(values.size())) {
      const int count = std::min<int>(values.size(), job.num_inputs - begin);
      values.fill(0.0f);
      if (row != nullptr && count > 0) {
        const auto bytes = static_cast<std::size_t>(begin / type.block_size) * type.block_bytes;
        dequantize_row(job.dtype, row + offset + bytes, count, values.data());
      }
      const int end = std::min<int>(values.size(), padded - begin);
      for (int k = 0; k < end; ++k) job.panel[panel_index(n, begin + k)] = round_to_bf16(values[k]);
    }
  }
}

void rms_norm(const float* x, int width, const float* weight, float epsilon, float* y) {
  float lanes[16] = {};
  for (int i = 0; i < width; ++i) lanes[i % 16] = std::fmaf(x[i], x[i], lanes[i % 16]);
  const float mean = sum_of_lanes(lanes) / static_cast<float>(width);
  const float inverse = 1.0f / std::sqrt(mean + epsilon);
  for (int i = 0; i < width; ++i) y[i] = (x[i] * inverse) * weight[i];
}

void rope(float* x, int num_heads, int head_dim, int half_dim, const float* cos_sin[2]) {
  for (int head = 0; head < num_heads; ++head) {
    float* low = x + static_cast<std::ptrdiff_t>(head) * head_dim;
    float* high = low + half_dim;
    for (int i = 0; i < half_dim; ++i) {
      const float cosine = cos_sin[0][i];
      const float sine = cos_sin[1][i];
      const float x0 = low[i];
      const float x1 = high[i];
      low[i] = std::fmaf(x0, cosine, -(x1 * sine));
      high[i] = std::fmaf(x1, cosine, x0 * sine);
    }
  }
}

void silu_mul(const float* gate, const float* up, std::size_t count, float* y) {
  for (std::size_t i = 0; i < count; ++i) {
    y[i] = gate[i] / (1.0f + exp_law(-gate[i])) * up[i];
  }
}

void add_scaled(float* x, const float* y, float scale, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) x[i] = std::fmaf(y[i], scale, x[i]);
}

constexpr KernelTable kTable{
    .row_block = kRowBlock,
    .prefetch_distance = 0,
    .packed_bytes = packed_bytes,
    .pack_rows = pack_rows,
    .multiply = multiply,
    .weights_to_panel = weights_to_panel,
    .attention = ref_attention,
    .merge_attention = ref_merge_attention,
    .rms_norm = rms_norm,
    .rope = rope,
    .silu_mul = silu_mul,
    .add_scaled = add_scaled,
};

}  // namespace

const KernelTable& ref_kernels() { return kTable; }

}  // namespace tutti::kernels
