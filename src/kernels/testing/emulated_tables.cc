#include "kernels/testing/tables.h"

namespace tutti::kernels {

std::vector<NamedTable> tables_under_test() {
  return {{"avx512_emulated", &avx512_kernels()}, {"amx_emulated", &amx_kernels()}};
}

}  // namespace tutti::kernels
