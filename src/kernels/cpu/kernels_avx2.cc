// The bf16 class by AVX2 and FMA: sixteen lanes are two registers.
//
// Compiled with flags of its own: nothing here may have external linkage but the table.
#define TUTTI_ROW_BLOCK 6
#include "kernels/cpu/vector_avx2.h"

namespace tutti::kernels {
namespace {
constexpr int kRowBlock = TUTTI_ROW_BLOCK;
// Every fourth line, 4 KiB ahead: the processor fetches the others. On Zen 4 one row reads so at
// 96-99 % of a read sweep; with every line at 91 % (2 KiB ahead) and 67 % (4 KiB).
constexpr int kPrefetchDistance = 4096;
constexpr int kPrefetchApart = 256;
constexpr int kMaxSums = 6;
}  // namespace
}  // namespace tutti::kernels

#include "kernels/cpu/simd_linear.h"
// The products come before the attention that is made of them.
#include "kernels/cpu/limit_loop.h"
#include "kernels/cpu/simd_attention.h"
#include "kernels/cpu/simd_weights.h"
#include "kernels/limit_loops.h"

namespace tutti::kernels {

double fma_loop_avx2(long rounds) {
  const __m256 x = _mm256_set1_ps(0.5f);
  return run_limit_loop(rounds, x, 8, [x](__m256 sum) { return _mm256_fmadd_ps(sum, x, x); });
}

std::uint64_t read_loop_avx2(const std::byte* bytes, std::size_t count) {
  constexpr std::size_t kAhead = 2048;
  __m256i sums[4] = {};
  for (std::size_t i = 0; i < count; i += 256) {
#pragma GCC unroll 4
    for (int line = 0; line < 4; ++line) {
      const std::byte* p = bytes + i + 64 * line;
      prefetch_line(p + kAhead);
      const auto* halves = reinterpret_cast<const __m256i*>(p);
      sums[line] = _mm256_xor_si256(sums[line], _mm256_loadu_si256(halves));
      sums[line] = _mm256_xor_si256(sums[line], _mm256_loadu_si256(halves + 1));
    }
  }
  const __m256i low = _mm256_xor_si256(sums[0], sums[1]);
  const __m256i all = _mm256_xor_si256(low, _mm256_xor_si256(sums[2], sums[3]));
  alignas(32) std::uint64_t words[4];
  _mm256_store_si256(reinterpret_cast<__m256i*>(words), all);
  return words[0] ^ words[1] ^ words[2] ^ words[3];
}

const KernelTable& avx2_kernels() {
  static constexpr KernelTable kTable{
      .row_block = kRowBlock,
      .prefetch_distance = kPrefetchDistance,
      .prefetch_apart = kPrefetchApart,
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
