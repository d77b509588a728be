// The words of Ops, and what it refuses to be made of.
#include "device/ops.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

namespace tutti::device {
namespace {

TEST(Ops, WordsAndBack) {
  for (const Isa isa : {Isa::kRef, Isa::kAvx2, Isa::kAvx512, Isa::kAmx, Isa::kNeon}) {
    EXPECT_EQ(parse_isa(to_string(isa)).value(), isa);
  }
  for (const ComputeClass known :
       {ComputeClass::kF32, ComputeClass::kBf16, ComputeClass::kInt8, ComputeClass::kQ8}) {
    EXPECT_EQ(parse_compute_class(to_string(known)).value(), known);
  }
  EXPECT_EQ(parse_isa("sse9").status().field(), "isa");
  EXPECT_EQ(parse_compute_class("int3").status().field(), "compute");
}

TEST(Ops, AnInstructionSetThatTheMachineLacksIsRefusedByName) {
  EXPECT_EQ(available_isas().front(), Isa::kRef);
  const auto isas = available_isas();
  for (const Isa isa : {Isa::kAvx2, Isa::kAvx512, Isa::kAmx, Isa::kNeon}) {
    const bool there = std::find(isas.begin(), isas.end(), isa) != isas.end();
    const auto ops = Ops::create({ComputeClass::kBf16, isa, 1});
    EXPECT_EQ(ops.ok(), there);
    if (there) continue;
    EXPECT_THAT(ops.status().message(), ::testing::HasSubstr(to_string(isa)));
  }
}

TEST(Ops, CacheDtypesByName) {
  EXPECT_EQ(parse_kv_dtype("auto").value(), KvDtype::kAuto);
  EXPECT_EQ(parse_kv_dtype("bf16").value(), KvDtype::kBf16);
  EXPECT_EQ(parse_kv_dtype("bfloat16").value(), KvDtype::kBf16);
  EXPECT_EQ(parse_kv_dtype("int8").value(), KvDtype::kInt8);
  const Status refused = parse_kv_dtype("fp8").status();
  EXPECT_EQ(refused.field(), "kv_cache_dtype");
  EXPECT_THAT(refused.message(), ::testing::HasSubstr("\"fp8\""));
  const Status no_f32 =
      Ops::create({.compute_class = ComputeClass::kF32, .kv_dtype = KvDtype::kInt8}).status();
  EXPECT_EQ(no_f32.field(), "kv_cache_dtype");
  EXPECT_THAT(no_f32.message(), ::testing::HasSubstr("int8"));
}

}  // namespace
}  // namespace tutti::device
