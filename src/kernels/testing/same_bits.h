// Comparisons for the tests of kernels.
#pragma once

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <vector>

namespace tutti::kernels {

inline ::testing::AssertionResult same_bits(const float* expected, const float* actual,
                                            std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) {
    if (std::bit_cast<std::uint32_t>(expected[i]) != std::bit_cast<std::uint32_t>(actual[i])) {
      return ::testing::AssertionFailure()
             << "value " << i << ": " << expected[i] << " by the law, " << actual[i];
    }
  }
  return ::testing::AssertionSuccess();
}

inline double relative_error(const std::vector<double>& exact, const float* actual) {
  double error = 0, norm = 0;
  for (std::size_t i = 0; i < exact.size(); ++i) {
    error += (exact[i] - actual[i]) * (exact[i] - actual[i]);
    norm += exact[i] * exact[i];
  }
  return std::sqrt(error / norm);
}

}  // namespace tutti::kernels
