// The int8 class by AVX-VNNI: VPDPBUSD on 256-bit registers.
//
// Compiled with flags of its own: nothing here may have external linkage but the table.
#include "kernels/cpu/vector_avx2.h"
// The products need the vocabulary above.
#include "kernels/cpu/int8_avx2.h"

namespace tutti::kernels {

const QuantizedKernels& avxvnni_int8_kernels() {
  static constexpr QuantizedKernels kKernels = make_int8_kernels<RowsInt8>();
  return kKernels;
}

}  // namespace tutti::kernels
