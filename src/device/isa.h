// Which kernels an instruction set means on this machine.
#pragma once

#include "device/ops.h"

namespace tutti::kernels {
struct KernelTable;
}

namespace tutti::device {

// Only for one of available_isas(). kAvx512 is the AVX512-BF16 table where the processor's
// VDPBF16PS was seen to follow the law of the sum bit for bit (tried once), else AVX-512 FMA.
const kernels::KernelTable& kernels_of(Isa isa);

}  // namespace tutti::device
