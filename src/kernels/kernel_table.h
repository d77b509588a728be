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
#include "kernels/kv_page.h"
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
  // The inputs to do: [first_input, last_input), cut at multiples of the table's `pack_inputs`;
  // last_input 0: to the end.
  int first_input = 0;
  int last_input = 0;

  int inputs_end() const { return last_input > 0 ? last_input : num_inputs; }
};

// c[row][n] += x[row] . panel[n], or = with `from_zero`, over blocks [first_block, first_block +
// num_blocks).
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
  // Further panels of the same rows, each `panel_stride` values and `c_stride` floats on.
  int num_panels = 1;
  std::size_t panel_stride = 0;
  std::size_t c_stride = 0;
  bool from_zero = false;   // c starts at +0, whatever it holds
  int prefetch_apart = 64;  // bytes from one line that is fetched to the next
};

// Weights of 32 outputs -> part of a panel.
struct PanelWeights {
  DType dtype = DType::kF32;
  const std::byte* const* rows = nullptr;  // [32], at input 0 of each row; nullptr: a row of zeros
  int first_input = 0;                     // a multiple of 256
  int num_inputs = 0;                      // from there; padded with zeros to a multiple of 32
  std::uint16_t* panel = nullptr;          // of block first_input / 32
};

// Query rows of one sequence in an attention job: consecutive positions, each with the job's
// `group` of query heads that share a key and value head.
struct AttentionRows {
  const BlockId* block_table = nullptr;
  Position first_position = 0;
  int num_positions = 0;
  // Of the first position's first head: [num_positions][group][head_dim], positions
  // AttentionJob::row_stride floats apart, heads head_dim.
  const float* q = nullptr;
  float* out = nullptr;
};

// Rows of one sequence, or of several whose block tables begin with the same blocks: the pages of
// these are read once for all rows.
struct AttentionJob {
  PageType page_type = PageType::kBf16;
  // Keys of block 0 of this layer and head; its values lie `value_offset` further; the next block
  // `block_stride` further. In bytes.
  const std::byte* pages = nullptr;
  std::size_t value_offset = 0;
  std::size_t block_stride = 0;
  int head_dim = 0;
  int group = 0;
  float scale = 0;         // positive
  int sliding_window = 0;  // 0: none
  std::ptrdiff_t row_stride = 0;
  const AttentionRows* sequences = nullptr;  // rows in all: <= kMaxAttentionRows
  int num_sequences = 0;
  int num_common_pages = 0;  // with several sequences: leading blocks that all tables share
  // nullptr: `out` is written. Else only the chunks [first_chunk, last_chunk) are worked on, and
  // what each row gets of each goes to partials[chunk - first_chunk][row][partial_floats(head_dim)]
  // for merge_attention; rows are counted through all sequences.
  float* partials = nullptr;
  int first_chunk = 0;
  int last_chunk = 0;
};
// Contexts are cut at multiples of so many positions. Within a chunk there is one softmax; chunks
// are merged in order (the law: ref/ref_attention.h). So which thread takes which chunks does not
// show in the bits. 256 positions of 48 rows keep scores and weights in the second-level cache.
inline constexpr int kAttentionChunk = 256;
inline constexpr int kChunkPages = kAttentionChunk / kBlockSize;

// A row's part of a chunk: sums [head_dim padded to 32], the largest score as a power of two, the
// weights' sum (-1 where the row sees nothing of the chunk), padding.
constexpr std::size_t partial_floats(int head_dim) {
  return static_cast<std::size_t>(num_panels(head_dim)) * kPanelOutputs + 16;
}
struct AttentionMerge {
  const float* partials = nullptr;  // of the row's first chunk
  std::ptrdiff_t chunk_stride = 0;  // in floats
  int num_chunks = 0;
  int head_dim = 0;
  float* out = nullptr;  // [head_dim]
};

inline constexpr int kMaxAttentionRows = 48;
inline constexpr int kMaxHeadDim = 512;

struct KernelTable {
  int row_block;  // rows of activations that a kernel holds in registers at once
  static constexpr int pack_inputs = 32;  // a block's: what PackRows's inputs may be cut at
  // How far ahead of its reads a product of few rows should fetch the weight stream, and how far
  // from one line to the next, in bytes.
  int prefetch_distance;
  int prefetch_apart = 64;

  // Bytes of `num_rows` packed rows.
  std::size_t (*packed_bytes)(int num_rows, int num_inputs);
  void (*pack_rows)(const PackRows&);
  void (*multiply)(const PanelProduct&);
  // For types with is_weight.
  void (*weights_to_panel)(const PanelWeights&);

  // `scratch`: attention_scratch_bytes(), aligned to 64, one for each thread.
  void (*attention)(const AttentionJob&, void* scratch);
  void (*merge_attention)(const AttentionMerge&);

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
