#include "kernels/int8_weights.h"
#include "kernels/q8_law.h"
#include "kernels/testing/tables.h"

namespace tutti::kernels {

std::vector<NamedTable> tables_under_test() {
  return {{"avx512_emulated", &avx512_kernels()}, {"amx_emulated", &amx_kernels()}};
}

std::vector<NamedQuantizedTable> q8_tables_under_test() {
  return {{"avxvnni_emulated", &avxvnni_q8_kernels()},
          {"avx512_emulated", &avx512_q8_kernels()},
          {"avx512vnni_emulated", &avx512vnni_q8_kernels()},
          {"amx_emulated", &amx_q8_kernels()}};
}

std::vector<NamedQuantizedTable> int8_tables_under_test() {
  return {{"avxvnni_emulated", &avxvnni_int8_kernels()},
          {"avx512vnni_emulated", &avx512vnni_int8_kernels()},
          {"amx_emulated", &amx_int8_kernels()}};
}

}  // namespace tutti::kernels
