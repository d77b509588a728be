// The int8 class by NEON with dot products (SDOT).
//
// Compiled with flags of its own: nothing here may have external linkage but the table.
#include "kernels/cpu/vector_neon.h"
// The products need the vocabulary above.
#include "kernels/cpu/int8_neon.h"

namespace tutti::kernels {

const QuantizedKernels& neon_dot_int8_kernels() {
  static constexpr QuantizedKernels kKernels = make_int8_kernels<RowsInt8>();
  return kKernels;
}

}  // namespace tutti::kernels
