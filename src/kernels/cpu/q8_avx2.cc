// The q8 class by AVX2.
//
// Compiled with flags of its own: nothing here may have external linkage but the table.
#include <immintrin.h>

namespace tutti::kernels {
namespace {
constexpr int kRowBlock = 4;
constexpr int block_rows(int left) { return left < kRowBlock ? left : kRowBlock; }
constexpr bool kCorrectionIsPair = true;
}  // namespace
}  // namespace tutti::kernels

#define TUTTI_Q8_DOT 0
#include "kernels/cpu/q8_rows.h"

// The products read what the rows are packed to.
#include "kernels/cpu/q8_avx2.h"

namespace tutti::kernels {

const QuantizedKernels& avx2_q8_kernels() { return kTable; }

}  // namespace tutti::kernels
