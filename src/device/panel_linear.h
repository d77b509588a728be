// A linear layer in the bf16 class: panels handed out to threads, each multiplied with all rows.
#pragma once

#include <atomic>
#include <cstddef>
#include <span>

#include "device/large_buffer.h"
#include "device/ops.h"
#include "device/pack_activations.h"

namespace tutti::kernels {
struct KernelTable;
}

namespace tutti::device {

// Hands out [0, count) in pieces of at most `max_piece`, large at first and small at the end, so
// that threads that share their core with others end together. Each is counted by the pool.
// Thread safety: any thread.
class WorkCounter {
 public:
  WorkCounter(int count, ThreadPool& pool, int max_piece)
      : count_(count), max_piece_(max_piece), pool_(pool) {}

  // The next piece [begin, end); false when there is none.
  bool take(int& begin, int& end);

 private:
  const int count_;
  const int max_piece_;
  ThreadPool& pool_;
  std::atomic<int> next_{0};
};

// How many panels of so many values a piece may have that is multiplied with `num_rows` rows: work
// of a tenth of a second at most, and weights that even a slow disk has read within a second.
int max_panels_a_piece(std::size_t values_a_panel, int num_rows);

// Thread safety: one call at a time; the pool works inside it.
class PanelLinear {
 public:
  PanelLinear(const kernels::KernelTable& kernels, ThreadPool& pool);

  // As Ops::linear_group; `make_rows` makes rows of x first.
  void run(std::span<const Ops::LinearOutput> outputs, const float* x, int num_rows,
           const MakeRows& make_rows = nullptr);

 private:
  struct Rows;
  void run_panels(std::span<const Ops::LinearOutput> outputs, const Rows& rows,
                  WorkCounter& counter, int worker);
  void multiply_panel(const Ops::LinearOutput& output, int panel, const Rows& rows,
                      std::byte* scratch) const;

  const kernels::KernelTable& kernels_;
  ThreadPool& pool_;
  LargeBuffer packed_;
  std::vector<LargeBuffer> scratch_;  // one for each worker
};

// Bytes of a matrix as panels of bf16.
std::size_t packed_bytes(const Matrix& matrix);

// The weights as panels, converted by all threads.
LargeBuffer pack_weights(const Matrix& matrix, const kernels::KernelTable& kernels,
                         ThreadPool& pool, BufferArena& arena);

}  // namespace tutti::device
