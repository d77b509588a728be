#include "device/isa.h"

#include <algorithm>

#include "kernels/kernel_table.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace tutti::device {
namespace {

#if defined(__x86_64__)
struct CpuFeatures {
  bool avx2 = false;
  bool avx512 = false;
  bool amx = false;
};

std::uint64_t enabled_state() {
  std::uint32_t low = 0, high = 0;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (std::uint64_t{high} << 32) | low;
}

// Asks the kernel for the tile registers' state. Source: Linux Documentation/arch/x86/xstate.rst.
bool amx_permitted() {
  constexpr long kArchRequestPermission = 0x1023;
  constexpr long kTileData = 18;
  return syscall(SYS_arch_prctl, kArchRequestPermission, kTileData) == 0;
}

constexpr bool has(std::uint32_t flags, int bit) { return (flags >> bit & 1u) != 0; }

// CPUID leaves 1 and 7, and XCR0. Source: Intel SDM volume 2, CPUID; volume 1, chapter 13.
CpuFeatures detect() {
  CpuFeatures features;
  std::uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
  if (__get_cpuid(1, &eax, &ebx, &ecx, &edx) == 0) return features;
  constexpr int kFma = 12, kXsaveByOs = 27, kF16c = 29;
  if (!has(ecx, kXsaveByOs) || !has(ecx, kFma) || !has(ecx, kF16c)) return features;
  if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) == 0) return features;
  const std::uint64_t state = enabled_state();
  constexpr std::uint64_t kAvxState = 0x6, kAvx512State = 0xe6, kTileState = 0x60000;
  constexpr int kAvx2 = 5, kFoundation = 16, kDq = 17, kBw = 30, kVl = 31;
  constexpr int kAmxBf16 = 22, kAmxTile = 24;
  features.avx2 = has(ebx, kAvx2) && (state & kAvxState) == kAvxState;
  features.avx512 = features.avx2 && has(ebx, kFoundation) && has(ebx, kDq) && has(ebx, kBw) &&
                    has(ebx, kVl) && (state & kAvx512State) == kAvx512State;
  features.amx = features.avx512 && has(edx, kAmxBf16) && has(edx, kAmxTile) &&
                 (state & kTileState) == kTileState && amx_permitted();
  return features;
}
#endif

std::vector<Isa> detect_isas() {
  std::vector<Isa> isas = {Isa::kRef};
#if defined(__x86_64__)
  const CpuFeatures features = detect();
  if (features.avx2) isas.push_back(Isa::kAvx2);
  if (features.avx512) isas.push_back(Isa::kAvx512);
  if (features.amx) isas.push_back(Isa::kAmx);
#endif
  return isas;
}

}  // namespace

std::vector<Isa> available_isas() {
  static const std::vector<Isa> isas = detect_isas();
  return isas;
}

const kernels::KernelTable& kernels_of(Isa isa) {
  switch (isa) {
#if defined(__x86_64__)
    case Isa::kAvx2:
      return kernels::avx2_kernels();
    case Isa::kAvx512:
    case Isa::kAmx:
      return kernels::avx512_kernels();
#endif
    default:
      return kernels::ref_kernels();
  }
}

}  // namespace tutti::device
