#include "device/isa.h"

#include <algorithm>
#include <cstring>
#include <random>

#include "device/large_buffer.h"
#include "kernels/bf16_law.h"
#include "kernels/float_mode.h"
#include "kernels/int8_weights.h"
#include "kernels/kernel_table.h"
#include "kernels/panel.h"
#include "kernels/q8_law.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#elif defined(__aarch64__)
#include <sys/auxv.h>
#endif

namespace tutti::device {
namespace {

#if defined(__x86_64__)
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
  std::uint32_t eax1 = 0, ebx1 = 0, ecx1 = 0, edx1 = 0;
  constexpr int kAvx512Bf16 = 5;
  constexpr int kAvxVnni = 4, kAvx512Vbmi = 1, kAvx512Vnni = 11;
  const bool has_leaf = __get_cpuid_count(7, 1, &eax1, &ebx1, &ecx1, &edx1) != 0;
  features.avx512_bf16 = features.avx512 && has_leaf && has(eax1, kAvx512Bf16);
  features.avx_vnni = features.avx2 && has_leaf && has(eax1, kAvxVnni);
  features.avx512_vnni = features.avx512 && has(ecx, kAvx512Vnni);
  features.avx512_vbmi = features.avx512 && has(ecx, kAvx512Vbmi);
  features.amx = features.avx512 && has(edx, kAmxBf16) && has(edx, kAmxTile) &&
                 (state & kTileState) == kTileState && amx_permitted();
  constexpr int kAmxInt8 = 25;
  features.amx_int8 = features.amx && has(edx, kAmxInt8);
  return features;
}
#elif defined(__aarch64__)
// Source: Linux Documentation/arm64/elf_hwcaps.rst.
CpuFeatures detect() {
  constexpr unsigned long kDotProducts = 1ul << 20;     // HWCAP_ASIMDDP
  constexpr unsigned long kMatrixProducts = 1ul << 13;  // HWCAP2_I8MM
  CpuFeatures features;
  features.neon = true;
  features.neon_dot = (getauxval(AT_HWCAP) & kDotProducts) != 0;
  features.neon_i8mm = features.neon_dot && (getauxval(AT_HWCAP2) & kMatrixProducts) != 0;
  return features;
}
#else
CpuFeatures detect() { return {}; }
#endif

std::vector<Isa> detect_isas() {
  std::vector<Isa> isas = {Isa::kRef};
  const CpuFeatures& features = cpu_features();
  if (features.avx2) isas.push_back(Isa::kAvx2);
  if (features.avx512) isas.push_back(Isa::kAvx512);
  if (features.amx) isas.push_back(Isa::kAmx);
  if (features.neon) isas.push_back(Isa::kNeon);
  return isas;
}

#if defined(__x86_64__)
// One product of random values, denormals among them, by the scalar law and by `kernels`.
bool follows_the_law(const kernels::KernelTable& kernels) {
  constexpr int kRows = 6, kBlocks = 8, kInputs = kBlocks * kernels::kBlockInputs;
  const kernels::ScopedFlushDenormals flush;
  LargeBuffer memory(std::size_t{1} << 18);
  auto* panel = memory.as<std::uint16_t>();
  auto* packed = memory.data() + (std::size_t{64} << 10);
  auto* x = reinterpret_cast<float*>(memory.data() + (std::size_t{128} << 10));
  std::minstd_rand random;
  for (std::size_t i = 0; i < kernels::panel_values(kInputs); ++i) {
    // Exponents from denormal to 2^40, of which one row in four has ordinary ones only.
    const unsigned exponent = i % 4 == 0 ? 120 + random() % 14 : random() % 168;
    panel[i] = static_cast<std::uint16_t>((random() & 0x807f) | exponent << 7);
  }
  for (int i = 0; i < kRows * kInputs; ++i) {
    x[i] = kernels::bf16_to_float(
        static_cast<std::uint16_t>((random() & 0x807f) | (100 + random() % 40) << 7));
  }
  const auto product = [&](const kernels::KernelTable& table, float* sums) {
    table.pack_rows(
        {x, kInputs, kRows, kInputs, 0, (kRows + table.row_block - 1) / table.row_block, packed});
    table.multiply({panel, packed, kRows, kBlocks, 0, kBlocks, sums, nullptr, 0});
  };
  alignas(64) float expected[kRows * kernels::kPanelOutputs] = {};
  alignas(64) float actual[kRows * kernels::kPanelOutputs] = {};
  product(kernels::ref_kernels(), expected);
  product(kernels, actual);
  return std::memcmp(expected, actual, sizeof(expected)) == 0;
}

// The best table whose sums are the law's: that the dot product and tile instructions keep its
// order was found by trial, not promised by the manual.
const kernels::KernelTable& best_avx512() {
  static const bool use_dot =
      cpu_features().avx512_bf16 && follows_the_law(kernels::avx512_bf16_kernels());
  return use_dot ? kernels::avx512_bf16_kernels() : kernels::avx512_kernels();
}
bool use_tiles() {
  static const bool follows = follows_the_law(kernels::amx_kernels());
  return follows;
}
const kernels::KernelTable& best_amx() {
  return use_tiles() ? kernels::amx_kernels() : best_avx512();
}
#endif

const kernels::QuantizedKernels& q8_kernels_of(Isa isa) {
  if (isa == Isa::kRef) return kernels::ref_q8_kernels();
#if defined(__x86_64__)
  const CpuFeatures& features = cpu_features();
  switch (isa) {
    case Isa::kAvx2:
      return features.avx_vnni ? kernels::avxvnni_q8_kernels() : kernels::avx2_q8_kernels();
    default:
      if (isa == Isa::kAmx && features.amx_int8 && features.avx512_vnni) {
        return kernels::amx_q8_kernels();
      }
      return features.avx512_vnni ? kernels::avx512vnni_q8_kernels() : kernels::avx512_q8_kernels();
  }
#elif defined(__aarch64__)
  if (cpu_features().neon_i8mm) return kernels::neon_i8mm_q8_kernels();
  return cpu_features().neon_dot ? kernels::neon_dot_q8_kernels() : kernels::neon_q8_kernels();
#else
  return kernels::ref_q8_kernels();
#endif
}

// Sums of integers are exact, so no trial is needed; but the AMX table has tiles of bf16 as well.
const kernels::QuantizedKernels& int8_kernels_of(Isa isa) {
  if (isa == Isa::kRef) return kernels::ref_int8_kernels();
#if defined(__x86_64__)
  const CpuFeatures& features = cpu_features();
  const bool has_dot = features.avx512_vnni && features.avx512_vbmi;
  if (isa == Isa::kAmx && has_dot && features.amx_int8 && use_tiles()) {
    return kernels::amx_int8_kernels();
  }
  if (isa != Isa::kAvx2 && has_dot) return kernels::avx512vnni_int8_kernels();
  return features.avx_vnni ? kernels::avxvnni_int8_kernels() : kernels::avx2_int8_kernels();
#elif defined(__aarch64__)
  if (cpu_features().neon_i8mm) return kernels::neon_i8mm_int8_kernels();
  return cpu_features().neon_dot ? kernels::neon_dot_int8_kernels() : kernels::neon_int8_kernels();
#else
  return kernels::ref_int8_kernels();
#endif
}

}  // namespace

const CpuFeatures& cpu_features() {
  static const CpuFeatures features = detect();
  return features;
}

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
      return best_avx512();
    case Isa::kAmx:
      return best_amx();
#elif defined(__aarch64__)
    case Isa::kNeon:
      return kernels::neon_kernels();
#endif
    default:
      return kernels::ref_kernels();
  }
}

const kernels::QuantizedKernels* quantized_kernels_of(ComputeClass compute_class, Isa isa) {
  if (compute_class == ComputeClass::kInt8) return &int8_kernels_of(isa);
  return compute_class == ComputeClass::kQ8 ? &q8_kernels_of(isa) : nullptr;
}

const kernels::QuantizedKernels* quantized_kernels_for(DType dtype, ComputeClass compute_class,
                                                       Isa isa) {
  const kernels::QuantizedKernels* own = quantized_kernels_of(compute_class, isa);
  if (own == nullptr || own->takes(dtype)) return own;
  const kernels::QuantizedKernels* q8 = quantized_kernels_of(ComputeClass::kQ8, isa);
  return q8->takes(dtype) ? q8 : nullptr;
}

}  // namespace tutti::device
