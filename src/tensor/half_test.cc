#include "tensor/half.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

namespace tutti {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

TEST(Bf16, EveryPatternSurvivesTheRoundTrip) {
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto half = static_cast<std::uint16_t>(bits);
    const float wide = bf16_to_f32(half);
    if (std::isnan(wide)) {
      EXPECT_EQ(f32_to_bf16(wide), half | 0x40) << bits;
    } else {
      EXPECT_EQ(f32_to_bf16(wide), half) << bits;
    }
  }
}

TEST(F16, EveryPatternSurvivesTheRoundTrip) {
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto half = static_cast<std::uint16_t>(bits);
    const float wide = f16_to_f32(half);
    if (std::isnan(wide)) {
      EXPECT_EQ(f32_to_f16(wide), half | 0x200) << bits;
    } else {
      EXPECT_EQ(f32_to_f16(wide), half) << bits;
    }
  }
}

TEST(F16, ValuesAreThoseOfTheFormat) {
  for (std::uint32_t bits = 0; bits < 0x7c00; ++bits) {
    const int exponent = static_cast<int>(bits >> 10);
    const int mantissa = static_cast<int>(bits & 0x3ff);
    const double expected =
        exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25);
    EXPECT_EQ(f16_to_f32(static_cast<std::uint16_t>(bits)), expected) << bits;
    EXPECT_EQ(f16_to_f32(static_cast<std::uint16_t>(bits | 0x8000)), -expected) << bits;
  }
  EXPECT_EQ(f16_to_f32(0x7c00), kInfinity);
  EXPECT_EQ(f16_to_f32(0xfc00), -kInfinity);
}

// Halfway between two neighbours goes to the even one, a float32 step to either side to the nearer.
template <typename Narrow, typename Widen>
void expect_nearest_even(Narrow narrow, Widen widen, std::uint16_t infinity) {
  for (std::uint32_t low = 0; low + 1 < infinity; ++low) {
    const std::uint32_t high = low + 1;
    const double sum = static_cast<double>(widen(static_cast<std::uint16_t>(low))) +
                       static_cast<double>(widen(static_cast<std::uint16_t>(high)));
    const auto middle = static_cast<float>(sum / 2);
    ASSERT_EQ(static_cast<double>(middle), sum / 2);
    const std::uint32_t even = low % 2 == 0 ? low : high;
    ASSERT_EQ(narrow(middle), even) << low;
    ASSERT_EQ(narrow(-middle), even | 0x8000) << low;
    ASSERT_EQ(narrow(std::nextafter(middle, 0.0f)), low) << low;
    ASSERT_EQ(narrow(std::nextafter(middle, kInfinity)), high) << low;
  }
}

TEST(Bf16, RoundsToNearestEven) { expect_nearest_even(f32_to_bf16, bf16_to_f32, 0x7f80); }
TEST(F16, RoundsToNearestEven) { expect_nearest_even(f32_to_f16, f16_to_f32, 0x7c00); }

TEST(F16, OverflowGivesInfinityAndTinyGivesZero) {
  EXPECT_EQ(f32_to_f16(65519.996f), 0x7bff);
  EXPECT_EQ(f32_to_f16(65520.0f), 0x7c00);
  EXPECT_EQ(f32_to_f16(-1e30f), 0xfc00);
  EXPECT_EQ(f32_to_f16(kInfinity), 0x7c00);
  EXPECT_EQ(f32_to_f16(0x1p-25f), 0);
  EXPECT_EQ(f32_to_f16(-1e-40f), 0x8000);
}

TEST(Bf16, OverflowGivesInfinity) {
  EXPECT_EQ(f32_to_bf16(std::numeric_limits<float>::max()), 0x7f80);
  EXPECT_EQ(f32_to_bf16(-std::numeric_limits<float>::max()), 0xff80);
}

TEST(Halves, NanStaysAQuietNanWithItsSign) {
  // A NaN whose payload lies only in the bits that are cut off must not become infinity.
  const auto signalling = std::bit_cast<float>(std::uint32_t{0xff800001});
  EXPECT_EQ(f32_to_bf16(signalling), 0xffc0);
  EXPECT_EQ(f32_to_f16(signalling), 0xfe00);
}

}  // namespace
}  // namespace tutti
