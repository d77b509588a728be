#include "device/large_buffer.h"

#include <gtest/gtest.h>
#include <linux/mempolicy.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <numeric>
#include <vector>

namespace tutti::device {
namespace {

TEST(LargeBuffer, IsZeroedAndMoves) {
  for (const std::size_t size : {std::size_t{100}, std::size_t{5} << 20}) {
    LargeBuffer buffer(size);
    EXPECT_GE(buffer.size(), size);
    EXPECT_TRUE(std::all_of(buffer.data(), buffer.data() + size,
                            [](std::byte b) { return b == std::byte{0}; }));
    buffer.data()[size - 1] = std::byte{7};
    LargeBuffer other = std::move(buffer);
    EXPECT_EQ(other.data()[size - 1], std::byte{7});
    EXPECT_EQ(buffer.data(), nullptr);
  }
}

TEST(BufferArena, BuffersLieCloseTogetherAndOutliveIt) {
  std::vector<LargeBuffer> buffers;
  {
    BufferArena arena;
    for (const std::size_t size : {std::size_t{100}, std::size_t{3} << 20, std::size_t{0},
                                   std::size_t{300} << 20, std::size_t{4096}}) {
      buffers.push_back(arena.take(size));
      EXPECT_GE(buffers.back().size(), size);
      EXPECT_LT(buffers.back().size(), size + 64);
      EXPECT_EQ(reinterpret_cast<std::uintptr_t>(buffers.back().data()) % 64, 0U);
    }
    EXPECT_EQ(buffers[1].data(), buffers[0].data() + 128);
  }
  buffers[0] = LargeBuffer();
  for (const LargeBuffer& buffer : buffers) {
    const std::size_t num_bytes = std::min(buffer.size(), std::size_t{4} << 20);
    EXPECT_EQ(std::count(buffer.data(), buffer.data() + num_bytes, std::byte{0}),
              static_cast<long>(num_bytes));
    if (num_bytes > 0) std::memset(buffer.data(), 1, num_bytes);
  }
}

// Pages of the mapping that are in memory.
int resident_pages(const std::byte* bytes, std::size_t size) {
  std::ifstream smaps("/proc/self/smaps");
  char start[32];
  std::snprintf(start, sizeof(start), "%lx-", reinterpret_cast<unsigned long>(bytes));
  bool inside = false;
  for (std::string line; std::getline(smaps, line);) {
    if (line.rfind(start, 0) == 0) inside = true;
    if (inside && line.rfind("Rss:", 0) == 0) return std::atoi(line.c_str() + 4) / 4;
  }
  return -static_cast<int>(size);
}

TEST(ReleaseFilePages, TakesAFilesPagesAndLeavesOtherMemoryAlone) {
  constexpr std::size_t kSize = 64 * 4096;
  std::FILE* file = std::tmpfile();
  ASSERT_NE(file, nullptr);
  const std::vector<char> content(kSize, 'x');
  ASSERT_EQ(std::fwrite(content.data(), 1, kSize, file), kSize);
  ASSERT_EQ(std::fflush(file), 0);
  auto* bytes =
      static_cast<std::byte*>(mmap(nullptr, kSize, PROT_READ, MAP_PRIVATE, fileno(file), 0));
  ASSERT_NE(static_cast<void*>(bytes), MAP_FAILED);
  EXPECT_EQ(std::count(bytes, bytes + kSize, std::byte{'x'}), static_cast<long>(kSize));
  EXPECT_EQ(resident_pages(bytes, kSize), 64);
  release_file_pages({bytes + 100, kSize - 200});
  EXPECT_LE(resident_pages(bytes, kSize), 2);
  EXPECT_EQ(std::count(bytes, bytes + kSize, std::byte{'x'}), static_cast<long>(kSize));
  munmap(bytes, kSize);
  std::fclose(file);

  LargeBuffer buffer(kSize);
  std::memset(buffer.data(), 'y', kSize);
  release_file_pages({buffer.data(), kSize});
  EXPECT_EQ(std::count(buffer.data(), buffer.data() + kSize, std::byte{'y'}),
            static_cast<long>(kSize));
}

// What a machine with several nodes does to its big buffers, done to the one or more of this one.
TEST(LargeBuffer, PagesAreInterleavedOverTheNodesGiven) {
  const MemoryNodes nodes = usable_memory_nodes();
  if (nodes.none()) GTEST_SKIP() << "the system does not tell its memory nodes";
  LargeBuffer buffer(std::size_t{4} << 20);
  if (!interleave_pages({buffer.data(), buffer.size()}, nodes)) {
    GTEST_SKIP() << "the system refuses mbind";
  }
  int policy = 0;
  MemoryNodes applied;
  ASSERT_EQ(
      syscall(SYS_get_mempolicy, &policy, &applied, applied.size() + 1, buffer.data(), MPOL_F_ADDR),
      0);
  EXPECT_EQ(policy, MPOL_INTERLEAVE);
  EXPECT_EQ(applied, nodes);
  buffer.data()[buffer.size() - 1] = std::byte{1};
  EXPECT_FALSE(interleave_pages({buffer.data(), buffer.size()}, MemoryNodes())) << "no node at all";
}

}  // namespace
}  // namespace tutti::device
