// Runs a fuzzer's entry point over its seeds, for builds without libFuzzer. Not crashing is the
// test; the sanitizers' builds make it a sharp one.
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

TEST(Corpus, EverySeedRuns) {
  int num_seeds = 0;
  for (const auto& entry : std::filesystem::directory_iterator(TUTTI_CORPUS)) {
    SCOPED_TRACE(entry.path().string());
    std::ifstream file(entry.path(), std::ios::binary);
    const std::vector<char> bytes{std::istreambuf_iterator<char>(file), {}};
    EXPECT_EQ(
        LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()),
        0);
    ++num_seeds;
  }
  EXPECT_GT(num_seeds, 0);
}

}  // namespace
