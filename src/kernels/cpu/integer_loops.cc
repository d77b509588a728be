// The loops of limit_loops.h that multiply bytes. In assembler, so that the file needs no flags and
// no register of the instruction set crosses into code that the compiler wrote.
//
// Twelve independent sums cover the latency (4 or 5 cycles, two a cycle) where there are registers
// for them; AMX has four.
#include <cstdint>

#include "kernels/limit_loops.h"

namespace tutti::kernels {
namespace {

constexpr int kChains = 12;

}  // namespace

double byte_loop_avx2(long rounds) {
  // VPMADDUBSW multiplies bytes and adds pairs; VPADDW accumulates. Sixteen-bit sums.
  constexpr int kProducts = 32;
  long left = rounds;
  asm volatile(
      "vpxor %%ymm15, %%ymm15, %%ymm15\n"
      "1:\n"
      ".irp sum, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11\n"
      "vpmaddubsw %%ymm15, %%ymm15, %%ymm14\n"
      "vpaddw %%ymm14, %%ymm\\sum, %%ymm\\sum\n"
      ".endr\n"
      "dec %0\n"
      "jnz 1b\n"
      "vzeroupper\n"
      : "+r"(left)
      :
      : "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9",
        "xmm10", "xmm11", "xmm14", "xmm15");
  return 2.0 * kChains * kProducts * static_cast<double>(rounds);
}

double byte_loop_avx512_vnni(long rounds) {
  constexpr int kProducts = 64;
  long left = rounds;
  asm volatile(
      "vpxor %%ymm15, %%ymm15, %%ymm15\n"
      "1:\n"
      ".irp sum, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11\n"
      "vpdpbusd %%zmm15, %%zmm15, %%zmm\\sum\n"
      ".endr\n"
      "dec %0\n"
      "jnz 1b\n"
      "vzeroupper\n"
      : "+r"(left)
      :
      : "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9",
        "xmm10", "xmm11", "xmm15");
  return 2.0 * kChains * kProducts * static_cast<double>(rounds);
}

double byte_loop_amx(long rounds) {
  // Palette 1, eight tiles of 16 rows of 64 bytes. Source: Intel SDM volume 1, chapter 18.
  struct alignas(64) TileConfig {
    std::uint8_t palette = 1;
    std::uint8_t reserved[15] = {};
    std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
  } const config;
  constexpr int kTiles = 4;
  constexpr int kProducts = 16 * 16 * 64;
  long left = rounds;
  asm volatile(
      "ldtilecfg %1\n"
      ".irp tile, 0, 1, 2, 3, 4, 5, 6, 7\n"
      "tilezero %%tmm\\tile\n"
      ".endr\n"
      "1:\n"
      "tdpbssd %%tmm6, %%tmm4, %%tmm0\n"
      "tdpbssd %%tmm7, %%tmm4, %%tmm1\n"
      "tdpbssd %%tmm6, %%tmm5, %%tmm2\n"
      "tdpbssd %%tmm7, %%tmm5, %%tmm3\n"
      "dec %0\n"
      "jnz 1b\n"
      "tilerelease\n"
      : "+r"(left)
      : "m"(config)
      : "cc");
  return 2.0 * kTiles * kProducts * static_cast<double>(rounds);
}

}  // namespace tutti::kernels
