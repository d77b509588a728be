// The bf16 class by AVX-512 (F, BW, DQ, VL): sixteen lanes are one register.
//
// Compiled with flags of its own: nothing here may have external linkage but the table.
#define TUTTI_ROW_BLOCK 12
#include "kernels/cpu/vector_avx512.h"

namespace tutti::kernels {
namespace {
constexpr int kRowBlock = TUTTI_ROW_BLOCK;
// Of 1, 2, 4, 8 and 16 KiB, 1 and 2 read fastest on Zen 4.
constexpr int kPrefetchDistance = 2048;
constexpr int kMaxSums = 24;
}  // namespace
}  // namespace tutti::kernels

#include "kernels/cpu/simd_linear.h"
// The products come before the attention that is made of them.
#include "kernels/cpu/limit_loop.h"
#include "kernels/cpu/simd_attention.h"
#include "kernels/cpu/simd_weights.h"
#include "kernels/limit_loops.h"

namespace tutti::kernels {

#if !defined(TUTTI_EMULATED)
double fma_loop_avx512(long rounds) {
  const __m512 x = _mm512_set1_ps(0.5f);
  return run_limit_loop(rounds, x, 16, [x](__m512 sum) { return _mm512_fmadd_ps(sum, x, x); });
}
#endif

const KernelTable& avx512_kernels() {
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
