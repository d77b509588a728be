// A linear layer of class q8 over activations of 16 bits: for weights so exact that rounding the
// activations to 8 bits would be most of the error.
//
// Law: with x1 the row as q8_law.h quantises it and r[k] = fma(-scale, q[k], x[k]) what that leaves
// of it, in f32,
//   y = (product of x1) + (product of r, quantised by the same law), then the bias.
// A product of 2 M rows does both, so that the weights are read once.
#pragma once

#include <vector>

#include "device/large_buffer.h"
#include "device/ops.h"
#include "device/pack_activations.h"

namespace tutti::kernels {
struct QuantizedKernels;
}

namespace tutti::device {

// Thread safety: one call at a time; the pool works inside it.
class TwoPartLinear {
 public:
  // `kernels`: a table of class q8.
  TwoPartLinear(const kernels::QuantizedKernels& kernels, ThreadPool& pool);

  // Whether `kernels` has quantised the matrix, and it has 8 bits a weight.
  bool suits(const Matrix& matrix) const;

  // As Ops::linear, for a matrix that suits; `make_rows` makes rows of x first.
  void run(const Ops::LinearOutput& output, const float* x, int num_rows,
           const MakeRows& make_rows);

 private:
  struct Worker {
    LargeBuffer sums;  // [2 rows, outputs of kPanelsAtOnce panels]
    LargeBuffer scratch;
  };
  void split_rows(const float* x, int num_rows, int num_inputs, const MakeRows& make_rows);
  void multiply_panels(const Ops::LinearOutput& output, int begin, int num_rows,
                       const Worker& worker) const;

  const kernels::QuantizedKernels& kernels_;
  ThreadPool& pool_;
  LargeBuffer parts_;  // [2, rows, inputs]: the rows, then what is left of them
  LargeBuffer packed_;
  std::vector<Worker> workers_;
};

}  // namespace tutti::device
