// The tables that a test build compares with the law: those this machine can run, or, in the
// emulated build, those whose instructions are functions.
#pragma once

#include <string>
#include <vector>

#include "kernels/kernel_table.h"
#include "kernels/quantized_kernels.h"

namespace tutti::kernels {

struct NamedTable {
  std::string name;
  const KernelTable* table;
};
// Without ref_kernels().
std::vector<NamedTable> tables_under_test();

struct NamedQuantizedTable {
  std::string name;
  const QuantizedKernels* table;
};
// Of the class q8, without ref_q8_kernels().
std::vector<NamedQuantizedTable> q8_tables_under_test();
// Of the class int8, without ref_int8_kernels().
std::vector<NamedQuantizedTable> int8_tables_under_test();

}  // namespace tutti::kernels
