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

// x [num_rows, num_inputs] → `packed`, which grows as needed. Where the row blocks are shared out
// evenly, each is made by the thread that packs it; else every thread packs a part of all rows'
// inputs, as with the one block of 16 rows. Up to `small_pack` values are packed by the calling
// thread, sooner than another can be woken. Table: KernelTable or QuantizedKernels.
template <typename Table>
void pack_activations(const Table& table, ThreadPool& pool, std::size_t small_pack,
                      kernels::PackRows job, const MakeRows& make_rows, LargeBuffer& packed) {
  const std::size_t bytes = table.packed_bytes(job.num_rows, job.num_inputs);
  if (packed.size() < bytes) packed = LargeBuffer(bytes);
  job.row_stride = job.num_inputs;
  job.packed = packed.data();
  const int num_threads = pool.num_threads();
  const int row_blocks = (job.num_rows + table.row_block - 1) / table.row_block;
  const bool small = static_cast<std::size_t>(job.num_rows) * job.num_inputs <= small_pack;
  const bool is_even =
      job.num_rows % (table.row_block * num_threads) == 0 || row_blocks >= 4 * num_threads;
  const bool by_rows = small || is_even || table.pack_inputs == 0;
  // What is packed by all threads, or shared by too few, is made first.
  const bool make_first = make_rows != nullptr && !small && (!by_rows || row_blocks < num_threads);
  if (make_first) {
    pool.parallel_for(job.num_rows, 1, [&](std::size_t begin, std::size_t end) {
      const kernels::ScopedFlushDenormals flush;
      make_rows(static_cast<int>(begin), static_cast<int>(end));
    });
  }
  const int units =
      by_rows ? row_blocks : (job.num_inputs + table.pack_inputs - 1) / table.pack_inputs;
  pool.parallel_for(units, small ? units : 1, [&](std::size_t first_unit, std::size_t last_unit) {
    const kernels::ScopedFlushDenormals flush;
    const int begin = static_cast<int>(first_unit), end = static_cast<int>(last_unit);
    kernels::PackRows part = job;
    part.first_row_block = by_rows ? begin : 0;
    part.last_row_block = by_rows ? end : row_blocks;
    if (!by_rows) {
      part.first_input = begin * table.pack_inputs;
      part.last_input = std::min(end * table.pack_inputs, job.num_inputs);
    }
    if (make_rows != nullptr && !make_first) {
      make_rows(begin * table.row_block, std::min(end * table.row_block, job.num_rows));
    }
    table.pack_rows(part);
  });
}

}  // namespace tutti::device
