// The q8 class by NEON with products of matrices of int8 (SMMLA).
//
// Compiled with flags of its own: nothing here may have external linkage but the table.
#include "kernels/cpu/vector_neon.h"
// The products need the vocabulary above.
#include "kernels/cpu/q8_neon.h"

namespace tutti::kernels {

const QuantizedKernels& neon_i8mm_q8_kernels() { return kTable; }

}  // namespace tutti::kernels
