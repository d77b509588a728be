// The tables that a test build compares with the law: those this machine can run, or, in the
// emulated build, those whose instructions are functions.
#pragma once

#include <string>
#include <vector>

#include "kernels/kernel_table.h"

namespace tutti::kernels {

struct NamedTable {
  std::string name;
  const KernelTable* table;
};
// Without ref_kernels().
std::vector<NamedTable> tables_under_test();

}  // namespace tutti::kernels
