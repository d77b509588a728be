#include "device/repack_cache.h"

#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <random>

#include "device/ops.h"
#include "kernels/testing/random_data.h"
#include "tests/support/goldens.h"

namespace tutti::device {
namespace {

namespace fs = std::filesystem;

std::vector<std::byte> random_bytes(std::size_t count) {
  std::mt19937 random(3);
  std::vector<std::byte> bytes(count);
  for (std::byte& byte : bytes) byte = std::byte(random());
  return bytes;
}

bool holds(RepackCache& cache, const std::string& name, const std::vector<std::byte>& expected) {
  const CachedPanels found = cache.find(name, expected.size());
  return found.file != nullptr &&
         std::memcmp(found.bytes.data(), expected.data(), expected.size()) == 0;
}

void flip_byte(const fs::path& path, std::streamoff offset) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekg(offset);
  const char byte = static_cast<char>(file.get());
  file.seekp(offset);
  file.put(static_cast<char>(byte ^ 4));
}

class RepackCacheTest : public ::testing::Test {
 protected:
  void fill() {
    RepackCache cache(path_, "origin");
    cache.put("a", a_);
    cache.put("b", b_);
  }

  fs::path path_ = testing::make_temp_dir() / "cache";
  std::vector<std::byte> a_ = random_bytes(10000), b_ = random_bytes(4096);
};

TEST_F(RepackCacheTest, WhatWasPutIsFoundByTheNextProcess) {
  fill();
  RepackCache cache(path_, "origin");
  EXPECT_TRUE(holds(cache, "a", a_));
  EXPECT_TRUE(holds(cache, "b", b_));
  EXPECT_EQ(cache.find("c", 5).file, nullptr);
  EXPECT_EQ(cache.find("a", 9999).file, nullptr);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(cache.find("b", 4096).bytes.data()) % 64, 0u);
}

TEST_F(RepackCacheTest, OfOtherFilesItIsMadeAnew) {
  fill();
  {
    RepackCache cache(path_, "other origin");
    EXPECT_EQ(cache.find("a", a_.size()).file, nullptr);
    cache.put("a", b_);
  }
  RepackCache cache(path_, "other origin");
  EXPECT_TRUE(holds(cache, "a", b_));
  EXPECT_EQ(cache.find("b", b_.size()).file, nullptr);
}

TEST_F(RepackCacheTest, DamageIsSeenAndMended) {
  // The first head, a record's head, panels, the last record's head.
  for (const std::streamoff offset : {3, 4096 + 20, 8192 + 777, 8192 + 12288 + 50}) {
    fs::remove(path_);
    fill();
    flip_byte(path_, offset);
    {
      RepackCache cache(path_, "origin");
      const bool all = holds(cache, "a", a_) && holds(cache, "b", b_);
      EXPECT_FALSE(all) << offset;
      cache.put("a", a_);
      cache.put("b", b_);
    }
    RepackCache cache(path_, "origin");
    EXPECT_TRUE(holds(cache, "a", a_)) << offset;
    EXPECT_TRUE(holds(cache, "b", b_)) << offset;
  }
}

TEST_F(RepackCacheTest, AFileCutShortIsMadeAnew) {
  for (const std::uintmax_t size : {0, 100, 4096, 5000, 9000, 20480, 25000}) {
    fs::remove(path_);
    fill();
    fs::resize_file(path_, size);
    RepackCache cache(path_, "origin");
    EXPECT_FALSE(holds(cache, "b", b_)) << size;
    cache.put("b", b_);
    EXPECT_TRUE(holds(*std::make_unique<RepackCache>(path_, "origin"), "b", b_)) << size;
  }
}

TEST_F(RepackCacheTest, PanelsOutliveTheirFile) {
  fill();
  RepackCache first(path_, "origin");
  const CachedPanels panels = first.find("a", a_.size());
  ASSERT_NE(panels.file, nullptr);
  fs::remove(path_);
  EXPECT_EQ(std::memcmp(panels.bytes.data(), a_.data(), a_.size()), 0);
}

TEST_F(RepackCacheTest, AFolderThatCannotBeWrittenCostsNothingElse) {
  RepackCache cache("/proc/no-such-folder/cache", "origin");
  cache.put("a", a_);
  EXPECT_EQ(cache.find("a", a_.size()).file, nullptr);
}

TEST_F(RepackCacheTest, AMatrixOfTheCacheComputesAsOneThatWasRepacked) {
  std::mt19937 random(5);
  const auto bytes = kernels::random_weights(DType::kQ4_K, 50, 512, random);
  const TensorView weight{"test.weight", DType::kQ4_K, {50, 512}, bytes};
  const auto x = kernels::random_floats(std::size_t{3} * 512, random);
  std::vector<std::int32_t> order(50);
  for (int i = 0; i < 50; ++i) order[i] = 49 - i;
  std::vector<std::vector<float>> results;
  for (const bool in_order : {true, false, true, false}) {
    const auto ops = Ops::create({.compute_class = ComputeClass::kQ8,
                                  .isa = available_isas().back(),
                                  .num_threads = 1,
                                  .repack_cache = std::make_shared<RepackCache>(path_, "origin")})
                         .value();
    const auto used =
        in_order ? std::span<const std::int32_t>(order) : std::span<const std::int32_t>();
    const MatrixPtr matrix = ops->make_matrix(weight, used).value();
    EXPECT_EQ(ops->reads_file(*matrix), results.size() >= 2);
    std::vector<float> y(150);
    ops->linear(*matrix, x.data(), 3, y.data());
    results.push_back(y);
  }
  EXPECT_EQ(results[0], results[2]);
  EXPECT_EQ(results[1], results[3]);
  EXPECT_NE(results[0], results[1]);
}

}  // namespace
}  // namespace tutti::device
