// The q8 class by AVX-VNNI: VPDPBUSD on 256-bit registers.
//
// Compiled with flags of its own: nothing here may have external linkage but the table.
#include <immintrin.h>

namespace tutti::kernels {
namespace {
constexpr int kRowBlock = 4;
constexpr int block_rows(int left) { return left < kRowBlock ? left : kRowBlock; }
constexpr bool kCorrectionIsPair = false;
}  // namespace
}  // namespace tutti::kernels

#define TUTTI_Q8_DOT 1
#include "kernels/cpu/q8_rows.h"

namespace tutti::kernels {
namespace {

TUTTI_INLINE __m256i dot_add(__m256i sum, __m256i weights, __m256i inputs) {
#if defined(TUTTI_EMULATED)
  alignas(32) std::uint8_t w[32];
  alignas(32) std::int8_t x[32];
  alignas(32) std::int32_t sums[8];
  _mm256_store_si256(reinterpret_cast<__m256i*>(w), weights);
  _mm256_store_si256(reinterpret_cast<__m256i*>(x), inputs);
  _mm256_store_si256(reinterpret_cast<__m256i*>(sums), sum);
  for (int i = 0; i < 32; ++i) sums[i / 4] += w[i] * x[i];
  return _mm256_load_si256(reinterpret_cast<const __m256i*>(sums));
#else
  return _mm256_dpbusd_avx_epi32(sum, weights, inputs);
#endif
}

}  // namespace
}  // namespace tutti::kernels

// The products read what the rows are packed to.
#include "kernels/cpu/q8_avx2.h"

namespace tutti::kernels {

const QuantizedKernels& avxvnni_q8_kernels() { return kTable; }

}  // namespace tutti::kernels
