// Random inputs for tests and benchmarks, the awkward values included.
#pragma once

#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

#include "tensor/dtype.h"

namespace tutti::kernels {

// Normal values; with `awkward`, some zeros of both signs, denormals, and sizes from 1e-30 to 1e10.
std::vector<float> random_floats(std::size_t count, std::mt19937& random, bool awkward = false);

// Rows of weights [num_rows, row_length] of any weight type, of about unit size.
std::vector<std::byte> random_weights(DType dtype, int num_rows, int row_length,
                                      std::mt19937& random);

}  // namespace tutti::kernels
