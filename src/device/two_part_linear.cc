#include "device/two_part_linear.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "base/thread_pool.h"
#include "device/matrix.h"
#include "device/panel_linear.h"
#include "kernels/float_mode.h"
#include "kernels/q8_law.h"
#include "kernels/quantized_kernels.h"

namespace tutti::device {
namespace {

// Of a row and its rest, both in one pass.
constexpr int kMaxRows = kernels::kMaxQuantizedRows / 2;
// What a worker sums before it adds the parts; the sums stay in cache.
constexpr int kPanelsAtOnce = 8;

void grow(LargeBuffer& buffer, std::size_t bytes) {
  if (buffer.size() < bytes) buffer = LargeBuffer(bytes);
}

void take_rest(const float* x, int num_inputs, float* rest) {
  for (int first = 0; first < num_inputs; first += kernels::kQ8GroupInputs) {
    const kernels::Q8Group group = kernels::quantize_group(x + first);
    for (int k = 0; k < kernels::kQ8GroupInputs; ++k) {
      rest[first + k] = std::fmaf(-group.scale, group.q[k], x[first + k]);
    }
  }
}

}  // namespace

TwoPartLinear::TwoPartLinear(const kernels::QuantizedKernels& kernels, ThreadPool& pool)
    : kernels_(kernels), pool_(pool), workers_(static_cast<std::size_t>(pool.num_threads())) {}

bool TwoPartLinear::suits(const Matrix& matrix) const {
  return matrix.quantized_kernels() == &kernels_ && kernels::q8_format(matrix.dtype()).bits == 8;
}

void TwoPartLinear::run(const Ops::LinearOutput& output, const float* x, int num_rows,
                        const MakeRows& make_rows) {
  const Matrix& matrix = *output.weight;
  TUTTI_CHECK(suits(matrix)) << to_string(matrix.dtype());
  const int num_inputs = matrix.num_inputs();
  const int num_panels =
      (matrix.num_outputs() + kernels_.panel_outputs - 1) / kernels_.panel_outputs;
  const std::size_t sum_values = static_cast<std::size_t>(kPanelsAtOnce) * kernels_.panel_outputs;
  for (int first = 0; first < num_rows; first += kMaxRows) {
    const int count = std::min(kMaxRows, num_rows - first);
    const auto make_some = [&](int begin, int end) { make_rows(first + begin, first + end); };
    split_rows(x + static_cast<std::size_t>(first) * num_inputs, count, num_inputs,
               make_rows ? MakeRows(make_some) : nullptr);
    pack_activations(kernels_, pool_, 0,
                     {.x = parts_.as<float>(), .num_rows = 2 * count, .num_inputs = num_inputs},
                     nullptr, packed_);
    Ops::LinearOutput part = output;
    part.y += static_cast<std::size_t>(first) * matrix.num_outputs();
    WorkCounter counter((num_panels + kPanelsAtOnce - 1) / kPanelsAtOnce, pool_,
                        max_panels_a_piece(sum_values * num_inputs, 2 * count));
    pool_.run([&](int worker) {
      const kernels::ScopedFlushDenormals flush;
      Worker& own = workers_[static_cast<std::size_t>(worker)];
      grow(own.sums, 2 * count * sum_values * sizeof(float));
      grow(own.scratch, kernels_.scratch_bytes(2 * count, num_inputs));
      for (int begin = 0, end = 0; counter.take(begin, end);) {
        for (int i = begin; i < end; ++i) {
          multiply_panels(part, i * kPanelsAtOnce, count, own);
        }
      }
    });
  }
}

// parts_ and what is left of each row, split over the threads by rows.
void TwoPartLinear::split_rows(const float* x, int num_rows, int num_inputs,
                               const MakeRows& make_rows) {
  grow(parts_, 2 * sizeof(float) * num_rows * num_inputs);
  float* rows = parts_.as<float>();
  float* rests = rows + static_cast<std::size_t>(num_rows) * num_inputs;
  pool_.parallel_for(num_rows, 1, [&](std::size_t begin, std::size_t end) {
    const kernels::ScopedFlushDenormals flush;
    if (make_rows) make_rows(static_cast<int>(begin), static_cast<int>(end));
    for (std::size_t at = begin * num_inputs; at < end * num_inputs; at += num_inputs) {
      std::copy_n(x + at, num_inputs, rows + at);
      take_rest(x + at, num_inputs, rests + at);
    }
  });
}

// Panels [begin, begin + kPanelsAtOnce), or up to the last.
void TwoPartLinear::multiply_panels(const Ops::LinearOutput& output, int begin, int num_rows,
                                    const Worker& worker) const {
  const Matrix& matrix = *output.weight;
  const int first = begin * kernels_.panel_outputs;
  const int count = std::min(kPanelsAtOnce * kernels_.panel_outputs, matrix.num_outputs() - first);
  float* sums = worker.sums.as<float>();
  kernels_.multiply({.dtype = matrix.dtype(),
                     .panels = matrix.quantized_panel(begin),
                     .num_panels = (count + kernels_.panel_outputs - 1) / kernels_.panel_outputs,
                     .num_outputs = count,
                     .packed = packed_.data(),
                     .num_rows = 2 * num_rows,
                     .num_inputs = matrix.num_inputs(),
                     .y = sums,
                     .row_stride = count,
                     .scratch = worker.scratch.data()});
  const float* rests = sums + static_cast<std::size_t>(num_rows) * count;
  for (int m = 0; m < num_rows; ++m, sums += count, rests += count) {
    float* y = output.y + static_cast<std::size_t>(m) * matrix.num_outputs() + first;
    for (int n = 0; n < count; ++n) y[n] = sums[n] + rests[n];
    if (output.bias.empty()) continue;
    for (int n = 0; n < count; ++n) y[n] = y[n] + output.bias[first + n];
  }
}

}  // namespace tutti::device
