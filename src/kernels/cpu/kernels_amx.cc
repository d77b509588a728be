// The bf16 class by AMX: one TDPBF16PS is one step of the law for 16 rows and 16 outputs.
//
// Packed rows are bf16, so a tile of activations is R x 64 bytes without a gap. A block of a panel
// holds two tiles of
// weights side by side, rows 128 bytes apart. Two row blocks share them: 2 x 2 tiles of sums take
// 4 loads and 4 multiplications a block of inputs.
//
// Bound: one multiplication in 16 cycles; for few rows the read of the weights.
//
// Compiled with flags of its own: nothing here may have external linkage but the table.
#include "kernels/cpu/amx_tile.h"
#include "kernels/cpu/vector_avx512.h"
// Prefetching needs the vocabulary above.
#include "kernels/cpu/prefetch_stream.h"
#include "kernels/limit_loops.h"
#include "kernels/panel.h"

namespace tutti::kernels {
namespace {

constexpr int kRowBlock = kTileRows;
// A tile is loaded 1 KiB at once, so two blocks.
constexpr int kPrefetchDistance = 4096;
constexpr int kSumRowBytes = kPanelOutputs * static_cast<int>(sizeof(float));
constexpr int kPanelRowBytes = 2 * kTileRowBytes;

// Tiles 0..3: sums of two row blocks and two halves of the outputs; 4, 5: activations; 6, 7:
// weights.
void configure_tiles(int first_rows, int second_rows) {
  TileConfig config;
  for (int tile = 0; tile < 8; ++tile) {
    config.row_bytes[tile] = kTileRowBytes;
    config.rows[tile] = kTileRows;
  }
  // Tiles without rows may not be configured; the kernel of one row block leaves them alone.
  const int second = second_rows > 0 ? second_rows : kTileRows;
  config.rows[0] = config.rows[1] = config.rows[4] = static_cast<std::uint8_t>(first_rows);
  config.rows[2] = config.rows[3] = config.rows[5] = static_cast<std::uint8_t>(second);
  _tile_loadconfig(&config);
}

using PackedInput = std::uint16_t;
TUTTI_INLINE void store_packed(PackedInput* packed, Vector x) { store_rounded(packed, x); }
TUTTI_INLINE void store_packed_normal(PackedInput* packed, Vector low, Vector high) {
  store_packed(packed, low);
  store_packed(packed + 16, high);
}

}  // namespace
}  // namespace tutti::kernels

#include "kernels/cpu/simd_pack.h"

namespace tutti::kernels {
namespace {

// Row blocks at `x` (and `next`) against the panel; sums at c, 16 rows further for the second.
struct OneRowBlock {
  const std::uint16_t* first;
  int rows;
};
struct PanelAndSums {
  const std::uint16_t* panel;
  float* c;
};
void multiply_one(const PanelProduct& job, OneRowBlock x, const PanelAndSums& to,
                  PrefetchStream& stream) {
  float* c = to.c;
  if (job.from_zero) {
    _tile_zero(0);
    _tile_zero(1);
  } else {
    _tile_loadd(0, c, kSumRowBytes);
    _tile_loadd(1, c + 16, kSumRowBytes);
  }
  const std::uint16_t* panel = to.panel;
  for (int block = 0; block < job.num_blocks; ++block) {
    stream.step();
    _tile_loadd(4, x.first, kTileRowBytes);
    _tile_loadd(6, panel, kPanelRowBytes);
    _tile_dpbf16ps(0, 4, 6);
    _tile_loadd(7, panel + 32, kPanelRowBytes);
    _tile_dpbf16ps(1, 4, 7);
    x.first += x.rows * kBlockInputs;
    panel += kPanelBlockValues;
  }
  _tile_stored(0, c, kSumRowBytes);
  _tile_stored(1, c + 16, kSumRowBytes);
}

struct TwoRowBlocks {
  const std::uint16_t* first;   // 16 rows
  const std::uint16_t* second;  // second_rows
  int second_rows;
};
void multiply_two(const PanelProduct& job, TwoRowBlocks x, const PanelAndSums& to,
                  PrefetchStream& stream) {
  float* c = to.c;
  float* second_c = c + kTileRows * kPanelOutputs;
  if (job.from_zero) {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  } else {
    _tile_loadd(0, c, kSumRowBytes);
    _tile_loadd(1, c + 16, kSumRowBytes);
    _tile_loadd(2, second_c, kSumRowBytes);
    _tile_loadd(3, second_c + 16, kSumRowBytes);
  }
  const std::uint16_t* panel = to.panel;
  for (int block = 0; block < job.num_blocks; ++block) {
    stream.step();
    _tile_loadd(4, x.first, kTileRowBytes);
    _tile_loadd(6, panel, kPanelRowBytes);
    _tile_dpbf16ps(0, 4, 6);
    _tile_loadd(7, panel + 32, kPanelRowBytes);
    _tile_dpbf16ps(1, 4, 7);
    _tile_loadd(5, x.second, kTileRowBytes);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
    x.first += kTileRows * kBlockInputs;
    x.second += x.second_rows * kBlockInputs;
    panel += kPanelBlockValues;
  }
  _tile_stored(0, c, kSumRowBytes);
  _tile_stored(1, c + 16, kSumRowBytes);
  _tile_stored(2, second_c, kSumRowBytes);
  _tile_stored(3, second_c + 16, kSumRowBytes);
}

void multiply(const PanelProduct& job) {
  constexpr int kPair = 2 * kTileRows;
  const int pairs = (job.num_rows + kPair - 1) / kPair;
  PrefetchStream stream(job, static_cast<std::size_t>(job.num_panels) * pairs * job.num_blocks);
  const std::ptrdiff_t row_values = static_cast<std::ptrdiff_t>(job.total_blocks) * kBlockInputs;
  // Where the wanted blocks of the row block at `row`, of `rows` rows, begin.
  const auto packed_at = [&](int row, int rows) {
    return static_cast<const std::uint16_t*>(job.packed) + row * row_values +
           static_cast<std::ptrdiff_t>(job.first_block) * rows * kBlockInputs;
  };
  int configured_first = 0, configured_second = 0;
  for (int row = 0; row < job.num_rows; row += kPair) {
    const int left = job.num_rows - row;
    const int first = left < kTileRows ? left : kTileRows;
    const int second = left < kPair ? left - first : kTileRows;
    if (first != configured_first || second != configured_second) {
      configure_tiles(first, second);
      configured_first = first;
      configured_second = second;
    }
    // Between panels the tiles' shapes stay.
    for (int panel = 0; panel < job.num_panels; ++panel) {
      const PanelAndSums to{
          job.panel + panel * job.panel_stride,
          job.c + panel * job.c_stride + static_cast<std::ptrdiff_t>(row) * kPanelOutputs};
      if (second == 0) {
        multiply_one(job, {packed_at(row, first), first}, to, stream);
      } else {
        const TwoRowBlocks x{packed_at(row, first), packed_at(row + kTileRows, second), second};
        multiply_two(job, x, to, stream);
      }
    }
  }
  _tile_release();
}

// Tiles are loaded from panels as they are; only bytes must be widened.
using PreparedValue = std::uint16_t;
constexpr int kFewestPreparedRows = kMaxAttentionRows + 1;

void prepare_panel(const std::uint16_t* panel, std::size_t count, PreparedValue* prepared) {
  __builtin_memcpy(prepared, panel, count * sizeof(PreparedValue));
}
void prepare_bytes(const std::byte* panel, std::size_t count, PreparedValue* prepared) {
  for (std::size_t i = 0; i < count; i += 16) {
    store_bf16(prepared + i, widen_bytes(load_bytes(panel + i)));
  }
}
void multiply_prepared(PanelProduct job, const PreparedValue* prepared) {
  job.panel = prepared;
  multiply(job);
}

}  // namespace
}  // namespace tutti::kernels

#include "kernels/cpu/simd_attention.h"
#include "kernels/cpu/simd_weights.h"

namespace tutti::kernels {

double tile_loop_amx(long rounds) {
  configure_tiles(kTileRows, kTileRows);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_zero(4);
  _tile_zero(5);
  _tile_zero(6);
  _tile_zero(7);
  for (long round = 0; round < rounds; ++round) {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  _tile_release();
  return 2.0 * 4 * kTileRows * kTileRows * kBlockInputs * static_cast<double>(rounds);
}

const KernelTable& amx_kernels() {
  static constexpr KernelTable kTable{
      .row_block = kRowBlock,
      .prefetch_distance = kPrefetchDistance,
      .packed_bytes = packed_bytes,
      .pack_rows = pack_rows,
      .multiply = multiply,
      .weights_to_panel = weights_to_panel,
      .attention = attention,
      .merge_attention = merge_attention,
      .rms_norm = rms_norm,
      .rope = rope,
      .silu_mul = silu_mul,
      .add_scaled = add_scaled,
  };
  return kTable;
}

}  // namespace tutti::kernels
