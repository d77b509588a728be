// Loops that do nothing but the multiply-adds an instruction set is made of: what a kernel's rate
// is a share of. Each runs its loop `rounds` times on the calling thread and returns the number of
// operations (a multiply-add is two). Only for a machine with the instructions.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tutti::kernels {

double fma_loop_avx2(long rounds);         // VFMADD on 256-bit registers
double fma_loop_avx512(long rounds);       // VFMADD on 512-bit registers
double dot_loop_avx512_bf16(long rounds);  // VDPBF16PS on 512-bit registers
double tile_loop_amx(long rounds);         // TDPBF16PS

// The same with bytes, rounds > 0.
double byte_loop_avx2(long rounds);         // VPMADDUBSW and VPADDW on 256-bit registers
double byte_loop_avx512_vnni(long rounds);  // VPDPBUSD on 512-bit registers
double byte_loop_amx(long rounds);          // TDPBSSD

// Reads `count` bytes, a multiple of 256, and nothing else; the exclusive or of them.
std::uint64_t read_loop_avx2(const std::byte* bytes, std::size_t count);

}  // namespace tutti::kernels
