#include "device/machine_limits.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/thread_pool.h"
#include "device/ops.h"

namespace tutti::device {
namespace {

// Bounds that any machine of these decades keeps, loaded or not: they catch a loop that the
// compiler emptied, and a unit that is wrong by a thousand.
TEST(MachineLimits, ArePlausibleAndNameWhatTheMachineHas) {
  ThreadPool pool(1);
  const MachineLimits limits = measure_machine_limits(pool);
  EXPECT_GT(limits.read_gigabytes_per_second, 0.05);
  EXPECT_LT(limits.read_gigabytes_per_second, 2000);
  const std::vector<Isa> isas = available_isas();
  const auto has = [&](Isa isa) { return std::find(isas.begin(), isas.end(), isa) != isas.end(); };
  EXPECT_EQ(limits.avx2_fma_gigaflops > 0.5, has(Isa::kAvx2));
  EXPECT_EQ(limits.avx512_fma_gigaflops > 0.5, has(Isa::kAvx512));
  EXPECT_EQ(limits.amx_bf16_gigaflops > 0.5, has(Isa::kAmx));
  EXPECT_LT(limits.avx2_fma_gigaflops, 500);
  EXPECT_LT(limits.avx512_fma_gigaflops, 1000);
}

}  // namespace
}  // namespace tutti::device
