// The tile instructions that the AMX kernels use: the compiler's intrinsics, or a software tile
// machine under the same names (TUTTI_EMULATED), so that the kernels are tested where no AMX is.
//
// Source of the semantics: Intel SDM volume 2, LDTILECFG, TILELOADD, TILESTORED, TDPBF16PS,
// TDPBSSD. The order of TDPBF16PS's sums was also verified on hardware, bit by bit, against the
// scalar law.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cpu/avx512_intrinsics.h"

namespace tutti::kernels {
namespace {

inline constexpr int kTileRows = 16;
inline constexpr int kTileRowBytes = 64;

// The 64 bytes that LDTILECFG reads.
struct alignas(64) TileConfig {
  std::uint8_t palette = 1;
  std::uint8_t start_row = 0;
  std::uint8_t reserved[14] = {};
  std::uint16_t row_bytes[16] = {};
  std::uint8_t rows[16] = {};
};
static_assert(sizeof(TileConfig) == 64);

#if defined(TUTTI_EMULATED)

// Denormals count as zero in TDPBF16PS, whatever MXCSR says.
inline float without_denormal(float x) {
  const auto bits = __builtin_bit_cast(std::uint32_t, x);
  return (bits & 0x7f800000u) == 0 ? __builtin_bit_cast(float, bits & 0x80000000u) : x;
}

class SoftwareTiles {
 public:
  void configure(const void* config) {
    config_ = *static_cast<const TileConfig*>(config);
    if (config_.palette != 1) __builtin_trap();
    for (int tile = 0; tile < kTiles; ++tile) {
      if (config_.rows[tile] > kTileRows || config_.row_bytes[tile] > kTileRowBytes) {
        __builtin_trap();
      }
      zero(tile);
    }
  }
  void release() { config_ = TileConfig(); }

  void zero(int tile) { __builtin_memset(values_[tile], 0, sizeof(values_[tile])); }

  void load(int tile, const void* base, std::ptrdiff_t stride) {
    require_configured(tile);
    zero(tile);
    for (int row = 0; row < config_.rows[tile]; ++row) {
      __builtin_memcpy(values_[tile][row], static_cast<const char*>(base) + row * stride,
                       config_.row_bytes[tile]);
    }
  }
  void store(int tile, void* base, std::ptrdiff_t stride) const {
    require_configured(tile);
    for (int row = 0; row < config_.rows[tile]; ++row) {
      __builtin_memcpy(static_cast<char*>(base) + row * stride, values_[tile][row],
                       config_.row_bytes[tile]);
    }
  }

  // c[m][n] += sum over k of the pairs a[m][k] and b[k][n]; the sums of the pairs' lower and upper
  // products are kept apart, by fused multiply-add, until the end.
  void dot_bf16(int c, int a, int b) {
    require_product(c, a, b);
    for (int m = 0; m < config_.rows[c]; ++m) {
      for (int n = 0; n < config_.row_bytes[c] / 4; ++n) {
        float sums[2] = {0.0f, 0.0f};
        for (int k = 0; k < config_.rows[b]; ++k) {
          for (int half = 0; half < 2; ++half) {
            const float product = __builtin_fmaf(bf16(values_[a][m][k], half),
                                                 bf16(values_[b][k][n], half), sums[half]);
            sums[half] = without_denormal(product);
          }
        }
        const float old = without_denormal(__builtin_bit_cast(float, values_[c][m][n]));
        const float sum = without_denormal(old + without_denormal(sums[0] + sums[1]));
        values_[c][m][n] = __builtin_bit_cast(std::uint32_t, sum);
      }
    }
  }

  // c[m][n] += sum over k of the products of the four signed bytes of a[m][k] and b[k][n].
  void dot_int8(int c, int a, int b) {
    require_product(c, a, b);
    for (int m = 0; m < config_.rows[c]; ++m) {
      for (int n = 0; n < config_.row_bytes[c] / 4; ++n) {
        for (int k = 0; k < config_.rows[b]; ++k) {
          for (int shift = 0; shift < 32; shift += 8) {
            const int product = static_cast<std::int8_t>(values_[a][m][k] >> shift) *
                                static_cast<std::int8_t>(values_[b][k][n] >> shift);
            values_[c][m][n] += static_cast<std::uint32_t>(product);
          }
        }
      }
    }
  }

 private:
  static constexpr int kTiles = 8;
  void require_product(int c, int a, int b) const {
    require_configured(c);
    require_configured(a);
    require_configured(b);
    if (config_.rows[b] * 4 != config_.row_bytes[a] || config_.rows[c] != config_.rows[a] ||
        config_.row_bytes[c] != config_.row_bytes[b]) {
      __builtin_trap();
    }
  }
  void require_configured(int tile) const {
    if (config_.rows[tile] == 0 || config_.row_bytes[tile] == 0) __builtin_trap();
  }
  static float bf16(std::uint32_t pair, int half) {
    const std::uint32_t bits = half == 0 ? pair << 16 : pair & 0xffff0000u;
    return without_denormal(__builtin_bit_cast(float, bits));
  }

  TileConfig config_;
  std::uint32_t values_[kTiles][kTileRows][kTileRowBytes / 4];
};

thread_local SoftwareTiles software_tiles;

// GCC has some of these as macros, some as functions.
#undef _tile_zero
#undef _tile_loadd
#undef _tile_stored
#undef _tile_dpbf16ps
#undef _tile_dpbssd
#define _tile_loadconfig(config) software_tiles.configure(config)
#define _tile_release() software_tiles.release()
#define _tile_zero(tile) software_tiles.zero(tile)
#define _tile_loadd(tile, base, stride) software_tiles.load(tile, base, stride)
#define _tile_stored(tile, base, stride) software_tiles.store(tile, base, stride)
#define _tile_dpbf16ps(c, a, b) software_tiles.dot_bf16(c, a, b)
#define _tile_dpbssd(c, a, b) software_tiles.dot_int8(c, a, b)

#endif

}  // namespace
}  // namespace tutti::kernels
