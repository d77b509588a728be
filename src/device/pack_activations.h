// Rows of activations into the order of a table of kernels, split over the threads.
#pragma once

#include <cstddef>

#include "base/thread_pool.h"
#include "device/large_buffer.h"
#include "kernels/float_mode.h"
#include "kernels/kernel_table.h"

namespace tutti::device {

// x [num_rows, num_inputs] → `packed`, which grows as needed. Up to `small_pack` values are packed
// by the calling thread, sooner than another can be woken. Table: KernelTable or QuantizedKernels.
template <typename Table>
void pack_activations(const Table& table, ThreadPool& pool, std::size_t small_pack,
                      kernels::PackRows job, LargeBuffer& packed) {
  const std::size_t bytes = table.packed_bytes(job.num_rows, job.num_inputs);
  if (packed.size() < bytes) packed = LargeBuffer(bytes);
  job.row_stride = job.num_inputs;
  job.packed = packed.data();
  const int row_blocks = (job.num_rows + table.row_block - 1) / table.row_block;
  const bool small = static_cast<std::size_t>(job.num_rows) * job.num_inputs <= small_pack;
  pool.parallel_for(row_blocks, small ? row_blocks : 1, [&](std::size_t begin, std::size_t end) {
    const kernels::ScopedFlushDenormals flush;
    kernels::PackRows part = job;
    part.first_row_block = static_cast<int>(begin);
    part.last_row_block = static_cast<int>(end);
    table.pack_rows(part);
  });
}

}  // namespace tutti::device
