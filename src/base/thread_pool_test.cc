#include "base/thread_pool.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <numeric>
#include <thread>
#include <vector>

#include "base/cpu_limits.h"

namespace tutti {
namespace {

TEST(ThreadPool, RunsTheJobOnceOnEveryWorker) {
  for (const int num_threads : {1, 2, 3, 5}) {
    ThreadPool pool(num_threads);
    ASSERT_EQ(pool.num_threads(), num_threads);
    std::vector<int> calls(num_threads, 0);
    for (int round = 0; round < 500; ++round) {
      pool.run([&](int worker) { ++calls[worker]; });
    }
    EXPECT_EQ(calls, std::vector<int>(num_threads, 500));
  }
}

TEST(ThreadPool, WhatWorkersWroteIsSeenAfterRunAndByTheNextJob) {
  ThreadPool pool(2);
  std::vector<int> left(2, 0), right(2, 0);
  for (int round = 1; round <= 1000; ++round) {
    pool.run([&](int worker) { left[worker] = round; });
    ASSERT_EQ(left, std::vector<int>(2, round));
    pool.run([&](int worker) { right[worker] = left[1 - worker]; });
    ASSERT_EQ(right, std::vector<int>(2, round));
  }
}

TEST(ThreadPool, WakesWorkersThatHaveParked) {
  ThreadPool pool(2);
  for (int round = 0; round < 5; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    std::atomic<int> calls = 0;
    pool.run([&](int) { ++calls; });
    EXPECT_EQ(calls, 2);
  }
}

TEST(ThreadPool, WaitsForASlowWorker) {
  ThreadPool pool(2);
  std::atomic<bool> done = false;
  pool.run([&](int worker) {
    if (worker == 0) return;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    done = true;
  });
  EXPECT_TRUE(done);
}

TEST(ThreadPool, ParallelForCoversEachIndexOnceInPiecesOfTheGrain) {
  ThreadPool pool(3);
  for (const std::size_t count : {0, 1, 2, 7, 64, 1001}) {
    for (const std::size_t grain : {1, 3, 64, 5000}) {
      std::vector<std::atomic<int>> hits(count);
      std::atomic<int> pieces = 0;
      pool.parallel_for(count, grain, [&](std::size_t begin, std::size_t end) {
        ASSERT_LT(begin, end);
        ++pieces;
        for (std::size_t i = begin; i < end; ++i) ++hits[i];
      });
      for (const auto& hit : hits) EXPECT_EQ(hit, 1);
      EXPECT_LE(pieces, 3);
      if (count <= grain) {
        EXPECT_EQ(pieces, count == 0 ? 0 : 1);
      }
    }
  }
}

TEST(ThreadPool, CountsPiecesWhileAJobRuns) {
  for (const int num_threads : {1, 2}) {
    ThreadPool pool(num_threads);
    const std::uint64_t before = pool.num_pieces();
    std::uint64_t within = 0;
    pool.run([&](int worker) {
      if (worker != 0) return;
      for (int i = 0; i < 10; ++i) pool.count_piece();
      within = pool.num_pieces();
    });
    EXPECT_EQ(within, before + 10);
    pool.parallel_for(1, 1, [](std::size_t, std::size_t) {});
    EXPECT_EQ(pool.num_pieces(), before + 12);
  }
}

TEST(ThreadPool, APinnedCallerDoesNotShrinkTheNextPool) {
  const int before = ThreadPool::usable_cores();
  {
    ThreadPool pool(2);
    pool.run([](int) {});
  }
  EXPECT_EQ(ThreadPool::usable_cores(), before);
  EXPECT_GE(before, 1);
}

class CgroupQuota : public ::testing::Test {
 protected:
  void SetUp() override {
    root_ = std::filesystem::temp_directory_path() / ("tutti_cgroup_" + std::to_string(::getpid()));
    std::filesystem::create_directories(root_ / "a" / "b");
    std::filesystem::create_directories(root_ / "cpu" / "docker");
  }
  void TearDown() override { std::filesystem::remove_all(root_); }
  void write(const std::filesystem::path& path, const std::string& text) {
    std::ofstream(root_ / path) << text;
  }
  std::filesystem::path root_;
};

TEST_F(CgroupQuota, Version2TakesTheSmallestOfTheGroupAndThoseAbove) {
  EXPECT_EQ(cgroup_cpu_quota("0::/a/b\n", root_), std::nullopt);
  write("a/b/cpu.max", "max 100000\n");
  EXPECT_EQ(cgroup_cpu_quota("0::/a/b\n", root_), std::nullopt);
  write("a/cpu.max", "150000 100000\n");
  EXPECT_EQ(cgroup_cpu_quota("0::/a/b\n", root_), 1.5);
  write("cpu.max", "50000 100000\n");
  EXPECT_EQ(cgroup_cpu_quota("0::/a/b\n", root_), 0.5);
  EXPECT_EQ(cgroup_cpu_quota("0::/\n", root_), 0.5);
}

TEST_F(CgroupQuota, Version1ReadsTheCpuController) {
  write("cpu/docker/cpu.cfs_quota_us", "200000\n");
  write("cpu/docker/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(cgroup_cpu_quota("7:memory:/docker\n4:cpu,cpuacct:/docker\n", root_), 2.0);
  EXPECT_EQ(cgroup_cpu_quota("7:cpuset:/docker\n", root_), std::nullopt);
  write("cpu/docker/cpu.cfs_quota_us", "-1\n");
  EXPECT_EQ(cgroup_cpu_quota("4:cpu,cpuacct:/docker\n", root_), std::nullopt);
}

}  // namespace
}  // namespace tutti
