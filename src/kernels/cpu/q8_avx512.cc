// The q8 class by AVX-512 (F, BW, DQ, VL).
//
// Compiled with flags of its own: nothing here may have external linkage but the table.
#include "kernels/cpu/avx512_intrinsics.h"

namespace tutti::kernels {
namespace {
constexpr int kRowBlock = 16;
// 16, 8, 4, 2 or 1.
constexpr int block_rows(int left) {
  int rows = kRowBlock;
  while (rows > left) rows /= 2;
  return rows;
}
constexpr bool kCorrectionIsPair = true;
}  // namespace
}  // namespace tutti::kernels

#define TUTTI_Q8_DOT 0
#include "kernels/cpu/q8_rows.h"
// The products read what the rows are packed to.
#include "kernels/cpu/q8_avx512.h"

namespace tutti::kernels {

const QuantizedKernels& avx512_q8_kernels() { return kTable; }

}  // namespace tutti::kernels
