#include "kernels/q8_law.h"
#include "kernels/testing/tables.h"

namespace tutti::kernels {

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
#endif
  return tables;
}

}  // namespace tutti::kernels
