// Which kernels an instruction set means on this machine.
#pragma once

#include "device/ops.h"

namespace tutti::kernels {
struct KernelTable;
struct QuantizedKernels;
}  // namespace tutti::kernels

namespace tutti::device {

// What the processor has and the system enabled.
struct CpuFeatures {
  bool avx2 = false;         // with FMA and F16C
  bool avx512 = false;       // F, BW, DQ, VL
  bool avx512_bf16 = false;  // VDPBF16PS
  bool avx512_vnni = false;  // VPDPBUSD on 512-bit registers
  bool avx512_vbmi = false;  // VPERMB
  bool avx_vnni = false;     // VPDPBUSD on 256-bit registers, VEX-coded
  bool amx = false;          // tiles of bf16; this process was permitted to use them
  bool amx_int8 = false;     // and tiles of int8
  bool neon = false;         // 64-bit ARM
  bool neon_dot = false;     // SDOT
  bool neon_i8mm = false;    // SMMLA
};
const CpuFeatures& cpu_features();

// Only for one of available_isas(). kAvx512 is the AVX512-BF16 table and kAmx the AMX table where
// that was seen, on this processor, to follow the law of the sum bit for bit; else the next
// simpler.
const kernels::KernelTable& kernels_of(Isa isa);

// The linear layers of kInt8 or kQ8; nullptr where `isa` has none, and for the other classes.
const kernels::QuantizedKernels* quantized_kernels_of(ComputeClass compute_class, Isa isa);

// Those by which a class computes a matrix of the type: its own, or for what kInt8 does not take
// kQ8's. nullptr: as bf16.
const kernels::QuantizedKernels* quantized_kernels_for(DType dtype, ComputeClass compute_class,
                                                       Isa isa);

}  // namespace tutti::device
