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
  EXPECT_EQ(limits.gigaops(MultiplyLoop::kAvx2Fma) > 0.5, has(Isa::kAvx2));
  EXPECT_EQ(limits.gigaops(MultiplyLoop::kAvx512Fma) > 0.5, has(Isa::kAvx512));
  EXPECT_EQ(limits.gigaops(MultiplyLoop::kAmxBf16) > 0.5, has(Isa::kAmx));
  EXPECT_EQ(limits.gigaops(MultiplyLoop::kAvx2Byte) > 1, has(Isa::kAvx2));
  EXPECT_EQ(limits.gigaops(MultiplyLoop::kAmxByte) > 1, has(Isa::kAmx));
  EXPECT_LT(limits.gigaops(MultiplyLoop::kAvx2Fma), 500);
  EXPECT_LT(limits.gigaops(MultiplyLoop::kAvx512Fma), 1000);
  EXPECT_LT(limits.gigaops(MultiplyLoop::kAvx2Byte), 4000);
  EXPECT_LT(limits.gigaops(MultiplyLoop::kAvx512VnniByte), 20000);
}

TEST(MachineLimits, AKernelIsMeasuredAgainstTheBestLoopOfItsInstructionSet) {
  EXPECT_EQ(fastest_loop(Isa::kRef, Factors::kFloats), std::nullopt);
  for (const Isa isa : available_isas()) {
    if (isa == Isa::kRef || isa == Isa::kNeon) continue;
    for (const Factors factors : {Factors::kFloats, Factors::kBytes}) {
      const auto loop = fastest_loop(isa, factors);
      ASSERT_TRUE(loop.has_value()) << to_string(isa);
      ThreadPool pool(1);
      EXPECT_GT(measure_multiply_gigaops(pool, *loop), 0.5) << to_string(*loop);
    }
  }
  if (fastest_loop(Isa::kAvx2, Factors::kBytes)) {
    EXPECT_EQ(fastest_loop(Isa::kAvx2, Factors::kFloats), MultiplyLoop::kAvx2Fma);
    EXPECT_EQ(fastest_loop(Isa::kAvx2, Factors::kBytes), MultiplyLoop::kAvx2Byte);
  }
}

}  // namespace
}  // namespace tutti::device
