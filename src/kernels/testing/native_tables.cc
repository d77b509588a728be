#include "kernels/int8_weights.h"
#include "kernels/q8_law.h"
#include "kernels/testing/tables.h"

#if defined(__aarch64__)
#include <sys/auxv.h>
#endif

namespace tutti::kernels {
#if defined(__aarch64__)
// Source: Linux Documentation/arm64/elf_hwcaps.rst.
namespace {
constexpr unsigned long kDotProducts = 1ul << 20;     // HWCAP_ASIMDDP
constexpr unsigned long kMatrixProducts = 1ul << 13;  // HWCAP2_I8MM
}  // namespace
#endif

std::vector<NamedTable> tables_under_test() {
  std::vector<NamedTable> tables;
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    tables.push_back({"avx2", &avx2_kernels()});
  }
  if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512dq")) {
    tables.push_back({"avx512", &avx512_kernels()});
  }
  if (__builtin_cpu_supports("avx512bf16")) {
    tables.push_back({"avx512_bf16", &avx512_bf16_kernels()});
  }
#elif defined(__aarch64__)
  tables.push_back({"neon", &neon_kernels()});
#endif
  return tables;
}

std::vector<NamedQuantizedTable> int8_tables_under_test() {
  std::vector<NamedQuantizedTable> tables;
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    tables.push_back({"avx2", &avx2_int8_kernels()});
  }
  if (__builtin_cpu_supports("avxvnni")) {
    tables.push_back({"avxvnni", &avxvnni_int8_kernels()});
  }
  if (__builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512vbmi")) {
    tables.push_back({"avx512vnni", &avx512vnni_int8_kernels()});
  }
#elif defined(__aarch64__)
  tables.push_back({"neon", &neon_int8_kernels()});
  if ((getauxval(AT_HWCAP) & kDotProducts) != 0) {
    tables.push_back({"neon_dot", &neon_dot_int8_kernels()});
  }
  if ((getauxval(AT_HWCAP2) & kMatrixProducts) != 0) {
    tables.push_back({"neon_i8mm", &neon_i8mm_int8_kernels()});
  }
#endif
  return tables;
}

std::vector<NamedQuantizedTable> q8_tables_under_test() {
  std::vector<NamedQuantizedTable> tables;
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    tables.push_back({"avx2", &avx2_q8_kernels()});
  }
  if (__builtin_cpu_supports("avxvnni")) tables.push_back({"avxvnni", &avxvnni_q8_kernels()});
  if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512dq")) {
    tables.push_back({"avx512", &avx512_q8_kernels()});
  }
  if (__builtin_cpu_supports("avx512vnni")) {
    tables.push_back({"avx512vnni", &avx512vnni_q8_kernels()});
  }
#elif defined(__aarch64__)
  tables.push_back({"neon", &neon_q8_kernels()});
  if ((getauxval(AT_HWCAP) & kDotProducts) != 0) {
    tables.push_back({"neon_dot", &neon_dot_q8_kernels()});
  }
  if ((getauxval(AT_HWCAP2) & kMatrixProducts) != 0) {
    tables.push_back({"neon_i8mm", &neon_i8mm_q8_kernels()});
  }
#endif
  return tables;
}

}  // namespace tutti::kernels
