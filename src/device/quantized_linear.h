// A linear layer in the classes q8 and int8: runs of panels handed out to threads.
#pragma once

#include <span>
#include <vector>

#include "device/large_buffer.h"
#include "device/ops.h"
#include "device/pack_activations.h"

namespace tutti::kernels {
struct QuantizedKernels;
}

namespace tutti::device {

class WorkCounter;

// Thread safety: one call at a time; the pool works inside it.
class QuantizedLinear {
 public:
  QuantizedLinear(const kernels::QuantizedKernels& kernels, ThreadPool& pool);

  const kernels::QuantizedKernels& kernels() const { return kernels_; }

  // As Ops::linear_group, for quantised matrices; `make_rows` makes rows of x first.
  void run(std::span<const Ops::LinearOutput> outputs, const float* x, int num_rows,
           const MakeRows& make_rows = nullptr);

 private:
  struct Rows;
  void multiply_panels(const Ops::LinearOutput& output, int begin, int end, const Rows& rows,
                       int worker) const;

  const kernels::QuantizedKernels& kernels_;
  ThreadPool& pool_;
  LargeBuffer packed_;
  std::vector<LargeBuffer> scratch_;  // one for each worker
};

// Bytes of a matrix's panels.
std::size_t quantized_bytes(const Matrix& matrix, const kernels::QuantizedKernels& kernels);

// Turns a matrix that is mapped into panels, with all threads, and gives the pages of the file back
// as it goes: of the file, no more than a slab of some MiB is resident beside the panels.
void quantize_matrix(Matrix& matrix, const TensorView& weight,
                     const kernels::QuantizedKernels& kernels, ThreadPool& pool,
                     BufferArena& arena);

}  // namespace tutti::device
