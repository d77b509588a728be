// Rows of activations into the order of a table of kernels, split over the threads.
#pragma once

#include <algorithm>
#include <cstddef>
#include <functional>

#include "base/thread_pool.h"
#include "device/large_buffer.h"
#include "kernels/float_mode.h"
#include "kernels/kernel_table.h"

namespace tutti::device {

// Makes the rows [first, last) of x before they are packed; null: they are there.
using MakeRows = std::function<void(int first, int last)>;

// x [num_rows, num_inputs] → `packed`, which grows as needed; each block of rows is made by the
// thread that packs it. Up to `small_pack` values are packed by the calling thread, sooner than
// another can be woken. Table: KernelTable or QuantizedKernels.
template <typename Table>
void pack_activations(const Table& table, ThreadPool& pool, std::size_t small_pack,
                      kernels::PackRows job, const MakeRows& make_rows, LargeBuffer& packed) {
  const std::size_t bytes = table.packed_bytes(job.num_rows, job.num_inputs);
  if (packed.size() < bytes) packed = LargeBuffer(bytes);
  job.row_stride = job.num_inputs;
  job.packed = packed.data();
  const int row_blocks = (job.num_rows + table.row_block - 1) / table.row_block;
  const bool small = static_cast<std::size_t>(job.num_rows) * job.num_inputs <= small_pack;
  // Too few blocks for the threads to share: the rows themselves are shared.
  const bool make_first = make_rows != nullptr && !small && row_blocks < pool.num_threads();
  if (make_first) {
    pool.parallel_for(job.num_rows, 1, [&](std::size_t begin, std::size_t end) {
      const kernels::ScopedFlushDenormals flush;
      make_rows(static_cast<int>(begin), static_cast<int>(end));
    });
  }
  pool.parallel_for(row_blocks, small ? row_blocks : 1, [&](std::size_t begin, std::size_t end) {
    const kernels::ScopedFlushDenormals flush;
    if (make_rows != nullptr && !make_first) {
      make_rows(static_cast<int>(begin) * table.row_block,
                std::min(static_cast<int>(end) * table.row_block, job.num_rows));
    }
    kernels::PackRows part = job;
    part.first_row_block = static_cast<int>(begin);
    part.last_row_block = static_cast<int>(end);
    table.pack_rows(part);
  });
}

}  // namespace tutti::device
