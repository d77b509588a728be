#include "cache/spill_storage.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <fstream>

namespace tutti::cache {
namespace {

namespace fs = std::filesystem;

class SpillStorageTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "tutti-spill-XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    root_ = name;
  }
  void TearDown() override { fs::remove_all(root_); }
  fs::path path() const { return root_ / "folder" / "file"; }

  fs::path root_;
};

TEST_F(SpillStorageTest, KeepsBytesForItsOwnerAlone) {
  constexpr std::array<std::byte, 3> kWritten = {std::byte{1}, std::byte{2}, std::byte{3}};
  {
    auto storage = open_spill_storage(path());
    ASSERT_TRUE(storage.ok()) << storage.status().message();
    EXPECT_TRUE((*storage)->write(10, kWritten).ok());
    EXPECT_EQ((*storage)->size().value(), 13u);
  }
  struct stat status {};
  ASSERT_EQ(::stat(path().c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600u);
  ASSERT_EQ(::stat(path().parent_path().c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0700u);
  ::chmod(path().c_str(), 0644);
  auto storage = open_spill_storage(path());
  ASSERT_TRUE(storage.ok());
  ASSERT_EQ(::stat(path().c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600u);
  std::array<std::byte, 3> read{};
  EXPECT_TRUE((*storage)->read(10, read).ok());
  EXPECT_EQ(read, kWritten);
  EXPECT_EQ((*storage)->read(11, read).kind(), ErrorKind::kCorrupt) << "it ends before";
}

TEST_F(SpillStorageTest, TheSecondIsRefusedAsLongAsTheFirstIsThere) {
  auto first = open_spill_storage(path());
  ASSERT_TRUE(first.ok());
  EXPECT_EQ(open_spill_storage(path()).status().kind(), ErrorKind::kUnavailable);
  *first = nullptr;
  EXPECT_TRUE(open_spill_storage(path()).ok());
}

TEST_F(SpillStorageTest, WhatOthersCouldHavePutThereIsRefused) {
  fs::create_directory(root_ / "folder");
  ::chmod((root_ / "folder").c_str(), 0777);
  EXPECT_EQ(open_spill_storage(path()).status().field(), "kv_spill_dir");
  ::chmod((root_ / "folder").c_str(), 01777);
  EXPECT_TRUE(open_spill_storage(path()).ok()) << "as /dev/shm is";
  fs::remove(path());
  std::ofstream(root_ / "victim") << "precious";
  fs::create_symlink(root_ / "victim", path());
  EXPECT_FALSE(open_spill_storage(path()).ok());
  fs::remove(path());
  ASSERT_EQ(::mkfifo(path().c_str(), 0600), 0);
  EXPECT_FALSE(open_spill_storage(path()).ok());
  EXPECT_EQ(open_spill_storage(root_ / "victim" / "file").status().field(), "kv_spill_dir");
  if (::geteuid() != 0) return;
  fs::remove(path());
  std::ofstream(path()) << "another's";
  ASSERT_EQ(::chown(path().c_str(), 12345, 12345), 0);
  EXPECT_EQ(open_spill_storage(path()).status().field(), "kv_spill_dir");
  ASSERT_EQ(::chown((root_ / "folder").c_str(), 12345, 12345), 0);
  EXPECT_EQ(open_spill_storage(path()).status().field(), "kv_spill_dir");
}

TEST_F(SpillStorageTest, ARemovedFileAndAFullDiskAreErrors) {
  auto storage = open_spill_storage(path());
  ASSERT_TRUE(storage.ok());
  fs::remove_all(root_ / "folder");
  constexpr std::array<std::byte, 1> kByte = {std::byte{1}};
  EXPECT_EQ((*storage)->write(0, kByte).kind(), ErrorKind::kUnavailable);
  EXPECT_FALSE(open_spill_storage("/proc/nothing/here/file").ok());
}

TEST(IsInMemory, KnowsTmpfs) {
  EXPECT_FALSE(is_in_memory("/proc"));
  // Of a missing folder its first parent counts.
  EXPECT_EQ(is_in_memory("/dev/shm"), is_in_memory("/dev/shm/no/such/folder"));
}

}  // namespace
}  // namespace tutti::cache
