// The bf16 class by NEON: sixteen lanes are four registers.
//
// Six rows times sixteen outputs are 24 registers of sums. Not timed: no machine was at hand; the
// kernels are tested in emulation.
#define TUTTI_ROW_BLOCK 6
#include "kernels/cpu/vector_neon.h"

namespace tutti::kernels {
namespace {
constexpr int kRowBlock = TUTTI_ROW_BLOCK;
constexpr int kPrefetchDistance = 2048;
constexpr int kMaxSums = 6;
}  // namespace
}  // namespace tutti::kernels

#include "kernels/cpu/simd_linear.h"
// The products come before the attention that is made of them.
#include "kernels/cpu/simd_attention.h"
#include "kernels/cpu/simd_weights.h"

namespace tutti::kernels {

const KernelTable& neon_kernels() {
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
