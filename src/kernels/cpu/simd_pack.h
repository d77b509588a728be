// Packed rows of activations: for each block of R = kRowBlock rows (the last may have fewer),
// [inputs / 32][R][32], sixteen inputs as store_packed writes them. So the rows of one block of
// inputs follow each other whatever R is, and what makes rows may write them packed itself.
//
// To be included after a vector_*.h, with these defined by the including file:
//   kRowBlock      rows that one kernel holds sums of
//   PackedInput    an input's type
//   store_packed   void(PackedInput*, Vector): sixteen inputs, rounded to bf16
#pragma once

#include "kernels/kernel_table.h"
#include "kernels/panel.h"

namespace tutti::kernels {
namespace {

std::size_t packed_bytes(int num_rows, int num_inputs) {
  return static_cast<std::size_t>(num_rows) * num_blocks(num_inputs) * kBlockInputs *
         sizeof(PackedInput);
}

void pack_rows(const PackRows& job) {
  const int blocks = num_blocks(job.num_inputs);
  const int end = num_blocks(job.inputs_end()) * kBlockInputs;
  for (int row_block = job.first_row_block; row_block < job.last_row_block; ++row_block) {
    const int first_row = row_block * kRowBlock;
    const int left = job.num_rows - first_row;
    const int rows = left < kRowBlock ? left : kRowBlock;
    auto* packed = static_cast<PackedInput*>(job.packed) +
                   static_cast<std::ptrdiff_t>(first_row) * blocks * kBlockInputs;
    for (int row = 0; row < rows; ++row) {
      const float* x = job.x + (first_row + row) * job.row_stride;
      for (int k = job.first_input; k < end; k += 16) {
        const int count = job.num_inputs - k;
        const Vector values = count >= 16 ? load(x + k) : load_first(x + k, count < 0 ? 0 : count);
        const std::ptrdiff_t block_row = static_cast<std::ptrdiff_t>(k / kBlockInputs) * rows + row;
        store_packed(packed + block_row * kBlockInputs + k % kBlockInputs, values);
      }
    }
  }
}

}  // namespace
}  // namespace tutti::kernels
