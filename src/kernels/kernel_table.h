// What an instruction set implements: one table of functions for each, all with the same bits. The
// functions here are the bf16 class's, whose law of each sum is in panel.h and bf16_law.h; the
// other classes share all but the linear layers, which are in tables of their own
// (quantized_kernels.h).
//
// Thread safety: the functions are pure but for their outputs. Every thread that calls them has
// denormals flushed (float_mode.h).
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/ids.h"
#include "kernels/panel.h"
#include "tensor/dtype.h"

namespace tutti::kernels {

// Rows of activations as bf16 values, in an order of the instruction set's own: blocks of
// `row_block` rows (the last may have fewer), each padded with zeros to whole blocks of 32 inputs.
struct PackRows {
  const float* x = nullptr;  // [num_rows, num_inputs], rows `row_stride` floats apart
  std::ptrdiff_t row_stride = 0;
  int num_rows = 0;
  int num_inputs = 0;
  int first_row_block = 0;  // the row blocks to do: [first_row_block, last_row_block)
  int last_row_block = 0;
  void* packed = nullptr;  // all of the rows' packed bytes, aligned to 64
};

// c[row][n] += x[row] . panel[n] over blocks [first_block, first_block + num_blocks).
struct PanelProduct {
  const std::uint16_t* panel = nullptr;  // of block `first_block`, aligned to 64
  const void* packed = nullptr;          // what PackRows wrote for num_rows x total_blocks * 32
  int num_rows = 0;
  int total_blocks = 0;
  int first_block = 0;
  int num_blocks = 0;
  float* c = nullptr;  // [num_rows][32], aligned to 64
  // Bytes of the weight stream that will be wanted next; fetched while this product is computed.
  const std::byte* prefetch = nullptr;
  std::size_t prefetch_bytes = 0;
};

// Weights of 32 outputs -> part of a panel.
struct PanelWeights {
  DType dtype = DType::kF32;
  const std::byte* const* rows = nullptr;  // [32], at input 0 of each row; nullptr: a row of zeros
  int first_input = 0;                     // a multiple of 256
  int num_inputs = 0;                      // from there; padded with zeros to a multiple of 32
  std::uint16_t* panel = nullptr;          // of block first_input / 32
};

// The rows of `num_positions` consecutive positions of one sequence in query heads that share a key
// and value head.
struct AttentionJob {
  // Keys of block 0 of this layer and head; its values lie `value_offset` further; the next block
  // `block_stride` further. In bf16 values.
  const std::uint16_t* pages = nullptr;
  std::size_t value_offset = 0;
  std::size_t block_stride = 0;
  const BlockId* block_table = nullptr;
  int head_dim = 0;
  int group = 0;  // consecutive query heads of this key and value head
  Position first_position = 0;
  int num_positions = 0;  // num_positions * group <= kMaxAttentionRows
  float scale = 0;
  int sliding_window = 0;  // 0: none
  // Of the first position's first head: [num_positions][group][head_dim], positions `row_stride`
  // floats apart, heads head_dim.
  const float* q = nullptr;
  float* out = nullptr;
  std::ptrdiff_t row_stride = 0;
};
inline constexpr int kMaxAttentionRows = 48;
inline constexpr int kMaxHeadDim = 512;

struct KernelTable {
  int row_block;  // rows of activations that a kernel holds in registers at once
  // How far ahead of its reads a product of few rows should fetch the weight stream, in bytes.
  int prefetch_distance;

  // Bytes of `num_rows` packed rows.
  std::size_t (*packed_bytes)(int num_rows, int num_inputs);
  void (*pack_rows)(const PackRows&);
  void (*multiply)(const PanelProduct&);
  // For types with is_weight.
  void (*weights_to_panel)(const PanelWeights&);

  // `scratch`: attention_scratch_bytes(), aligned to 64, one for each thread.
  void (*attention)(const AttentionJob&, void* scratch);

  // y = x * (1 / sqrt(mean(x^2) + epsilon)) * weight. Squares are summed in 16 lanes, value i in
  // lane i % 16 by fused multiply-add, then by sum_of_lanes.
  void (*rms_norm)(const float* x, int width, const float* weight, float epsilon, float* y);
  // One row of heads: pairs (i, i + half_dim); cos and sin [half_dim] of the row's position.
  // x0' = fma(x0, cos, -(x1 sin)), x1' = fma(x1, cos, x0 sin).
  void (*rope)(float* x, int num_heads, int head_dim, int half_dim, const float* cos_sin[2]);
  // y = gate / (1 + exp(-gate)) * up.
  void (*silu_mul)(const float* gate, const float* up, std::size_t count, float* y);
  // x = fma(y, scale, x).
  void (*add_scaled)(float* x, const float* y, float scale, std::size_t count);
};

// Enough for any job of kMaxAttentionRows and kMaxHeadDim.
std::size_t attention_scratch_bytes();

// Always there.
const KernelTable& ref_kernels();
// Only to be called on a machine that has the instructions (device/isa.h).
const KernelTable& avx2_kernels();
const KernelTable& avx512_kernels();
const KernelTable& avx512_bf16_kernels();
const KernelTable& amx_kernels();
const KernelTable& neon_kernels();

}  // namespace tutti::kernels
