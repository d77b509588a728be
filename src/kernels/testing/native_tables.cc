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

}  // namespace tutti::kernels
