// The law of the bf16 class in plain scalar code: what every other table is tested against.
// Packed rows are row-major bf16.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "kernels/bf16_law.h"
#include "kernels/kernel_table.h"
#include "kernels/kv_page.h"
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
    for (int k = 0; k < padded; ++k) packed[k] = k < job.num_inputs ? round_to_bf16(x[k]) : 0;
  }
}

// even + odd of one block of 32 inputs.
float block_sum(const std::uint16_t* x, const std::uint16_t* panel_block, int n) {
  float sums[2] = {0.0f, 0.0f};
  for (int k = 0; k < kBlockInputs; ++k) {
    float& sum = sums[k % 2];
    sum = std::fmaf(bf16_to_float(x[k]), bf16_to_float(panel_block[panel_index(n, k)]), sum);
  }
  return sums[0] + sums[1];
}

void multiply(const PanelProduct& job) {
  const auto* x = static_cast<const std::uint16_t*>(job.packed);
  for (int row = 0; row < job.num_rows; ++row) {
    for (int block = 0; block < job.num_blocks; ++block) {
      const std::size_t x_block =
          static_cast<std::size_t>(row) * job.total_blocks + job.first_block + block;
      const std::uint16_t* weights =
          job.panel + static_cast<std::size_t>(block) * kPanelBlockValues;
      float* c = job.c + row * kPanelOutputs;
      for (int n = 0; n < kPanelOutputs; ++n) {
        c[n] = c[n] + block_sum(x + x_block * kBlockInputs, weights, n);
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

// One query row: pages in order, online softmax.
//   s = (q . k) scale; m' = max(m, s over the page); a = exp(m - m'); p = bf16(exp(s - m'))
//   l = fma(l, a, sum p) with value i in lane i % 16; o = fma(o, a, p . v); out = o (1 / l)
class RowAttention {
 public:
  RowAttention(const AttentionJob& job, const float* q) : job_(job) {
    const int padded = num_blocks(job.head_dim) * kBlockInputs;
    for (int d = 0; d < padded; ++d) q_[d] = d < job.head_dim ? round_to_bf16(q[d]) : 0;
    for (int d = 0; d < padded; ++d) sums_[d] = 0.0f;
  }

  // Positions [first, last] are seen.
  void walk(Position first, Position last, float* out) {
    for (int page = first / kBlockSize; page <= last / kBlockSize; ++page) {
      const std::uint16_t* keys =
          job_.pages + static_cast<std::size_t>(job_.block_table[page].value) * job_.block_stride;
      const int begin = std::max(first - page * kBlockSize, 0);
      const int end = std::min(last - page * kBlockSize + 1, kBlockSize);
      add_page(keys, keys + job_.value_offset, begin, end);
    }
    const float inverse = 1.0f / weight_sum_;
    for (int d = 0; d < job_.head_dim; ++d) out[d] = sums_[d] * inverse;
  }

 private:
  void add_page(const std::uint16_t* keys, const std::uint16_t* values, int begin, int end) {
    float scores[kBlockSize];
    float new_max = max_;
    for (int p = begin; p < end; ++p) {
      float score = 0.0f;
      for (int block = 0; block < num_blocks(job_.head_dim); ++block) {
        score = score + block_sum(q_ + block * kBlockInputs, keys + block * kPanelBlockValues, p);
      }
      scores[p] = score * job_.scale;
      new_max = std::max(new_max, scores[p]);
    }
    const float decay = exp_law(max_ - new_max);
    max_ = new_max;
    std::uint16_t weights[kBlockSize] = {};
    float lanes[16] = {};
    for (int p = begin; p < end; ++p) {
      weights[p] = round_to_bf16(exp_law(scores[p] - new_max));
    }
    for (int i = 0; i < 16; ++i) {
      lanes[i] = bf16_to_float(weights[i]) + bf16_to_float(weights[i + 16]);
    }
    weight_sum_ = std::fmaf(weight_sum_, decay, sum_of_lanes(lanes));
    for (int d = 0; d < job_.head_dim; ++d) {
      const std::uint16_t* panel = values + (d / kPanelOutputs) * kPanelBlockValues;
      const float sum = 0.0f + block_sum(weights, panel, d % kPanelOutputs);
      sums_[d] = std::fmaf(sums_[d], decay, sum);
    }
  }

  const AttentionJob& job_;
  std::uint16_t q_[kMaxHeadDim];
  float sums_[kMaxHeadDim];
  float max_ = -1e30f;
  float weight_sum_ = 0.0f;
};

void attention(const AttentionJob& job, void*) {
  for (int row = 0; row < job.num_positions * job.group; ++row) {
    const Position position = job.first_position + row / job.group;
    const std::ptrdiff_t offset =
        (row / job.group) * job.row_stride + (row % job.group) * job.head_dim;
    const Position first =
        job.sliding_window > 0 ? std::max(position - job.sliding_window + 1, 0) : 0;
    RowAttention(job, job.q + offset).walk(first, position, job.out + offset);
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
    .attention = attention,
    .rms_norm = rms_norm,
    .rope = rope,
    .silu_mul = silu_mul,
    .add_scaled = add_scaled,
};

}  // namespace

const KernelTable& ref_kernels() { return kTable; }

}  // namespace tutti::kernels
