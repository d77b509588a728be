#include "base/thread_pool.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>
#include <vector>

#include "base/check.h"
#include "base/clock.h"
#include "base/cpu_limits.h"
#include "base/cpu_placement.h"

namespace tutti {
namespace {

// Operations of one forward pass follow each other within microseconds; sampling and planning take
// a few hundred. Longer waits are idle time, which must not burn a core.
constexpr auto kSpinTime = std::chrono::microseconds(200);
// Looking at the clock costs as much as tens of pauses.
constexpr int kPausesPerClock = 64;

inline void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  std::this_thread::yield();
#endif
}

// Waits until value != old: spins, then parks on the futex behind std::atomic::wait.
template <typename T>
void wait_while_equal(const std::atomic<T>& value, T old, Duration spin_time) {
  const TimePoint deadline = SteadyClock::now() + spin_time;
  do {
    for (int i = 0; i < kPausesPerClock; ++i) {
      if (value.load(std::memory_order_acquire) != old) return;
      pause();
    }
  } while (SteadyClock::now() < deadline);
  while (value.load(std::memory_order_acquire) == old) {
    value.wait(old, std::memory_order_acquire);
  }
}

}  // namespace

// A job is published by storing `job` and then advancing `generation`; each worker runs it and
// takes itself off `num_working`, and the last one's decrement to 0 is what run() waits for.
struct ThreadPool::Impl {
  std::vector<int> processors;  // processors[i]: where worker i is pinned; empty: not pinned
  std::vector<std::thread> threads;
  int num_threads = 1;
  Duration spin_time = kSpinTime;
  std::thread::id pinned_caller;
  const std::function<void(int)>* job = nullptr;
  bool stopping = false;
  alignas(64) std::atomic<std::uint32_t> generation{0};
  alignas(64) std::atomic<std::uint32_t> num_working{0};
  alignas(64) std::atomic<std::uint64_t> num_pieces{0};

  void pin_worker(int worker) const {
    if (!processors.empty()) pin_this_thread(processors[static_cast<std::size_t>(worker)]);
  }

  void publish(const std::function<void(int)>* next) {
    job = next;
    num_working.store(static_cast<std::uint32_t>(num_threads - 1), std::memory_order_relaxed);
    generation.fetch_add(1, std::memory_order_release);
    generation.notify_all();
  }

  void work(int worker) {
    name_this_thread("tutti-compute");
    pin_worker(worker);
    std::uint32_t seen = 0;
    for (;;) {
      wait_while_equal(generation, seen, spin_time);
      ++seen;
      if (stopping) return;
      (*job)(worker);
      if (num_working.fetch_sub(1, std::memory_order_acq_rel) == 1) num_working.notify_one();
    }
  }

  void wait_for_workers() const {
    for (;;) {
      const std::uint32_t left = num_working.load(std::memory_order_acquire);
      if (left == 0) return;
      wait_while_equal(num_working, left, spin_time);
    }
  }
};

ThreadPool::ThreadPool(int num_threads, bool pin) : impl_(std::make_unique<Impl>()) {
  TUTTI_CHECK(num_threads >= 0) << "num_threads " << num_threads;
  impl_->num_threads = num_threads == 0 ? usable_cores() : num_threads;
  const std::vector<Core>& usable = usable_cores_in_order();
  if (static_cast<std::size_t>(impl_->num_threads) > usable.size()) {
    // Whoever spins keeps another worker from the core.
    impl_->spin_time = Duration::zero();
  } else if (pin && impl_->num_threads > 1) {
    // A lone thread gains nothing from a fixed core.
    for (const Core& core : place_workers(usable, impl_->num_threads)) {
      impl_->processors.push_back(core.processor);
    }
  }
  for (int worker = 1; worker < impl_->num_threads; ++worker) {
    impl_->threads.emplace_back([this, worker] { impl_->work(worker); });
  }
}

ThreadPool::~ThreadPool() {
  impl_->stopping = true;
  impl_->publish(nullptr);
  for (std::thread& thread : impl_->threads) thread.join();
}

int ThreadPool::num_threads() const { return impl_->num_threads; }

void ThreadPool::run(const std::function<void(int)>& job) {
  if (impl_->num_threads == 1) {
    job(0);
    return count_piece();
  }
  // A model is loaded by one thread and run by another.
  if (const auto caller = std::this_thread::get_id(); caller != impl_->pinned_caller) {
    impl_->pin_worker(0);
    impl_->pinned_caller = caller;
  }
  impl_->publish(&job);
  job(0);
  impl_->wait_for_workers();
  count_piece();
}

void ThreadPool::parallel_for(std::size_t count, std::size_t grain,
                              const std::function<void(std::size_t, std::size_t)>& job) {
  if (count == 0) return;
  const std::size_t most = (count + grain - 1) / std::max<std::size_t>(grain, 1);
  const std::size_t pieces = std::clamp<std::size_t>(most, 1, num_threads());
  if (pieces == 1) {
    job(0, count);
    return count_piece();
  }
  run([&](int worker) {
    const auto piece = static_cast<std::size_t>(worker);
    if (piece >= pieces) return;
    const std::size_t begin = count * piece / pieces;
    const std::size_t end = count * (piece + 1) / pieces;
    if (begin < end) job(begin, end);
  });
}

std::uint64_t ThreadPool::num_pieces() const {
  return impl_->num_pieces.load(std::memory_order_relaxed);
}

void ThreadPool::count_piece() { impl_->num_pieces.fetch_add(1, std::memory_order_relaxed); }

int ThreadPool::usable_cores() {
  const int num_cores = static_cast<int>(usable_cores_in_order().size());
  std::ifstream file("/proc/self/cgroup");
  const std::string membership{std::istreambuf_iterator<char>(file), {}};
  const std::optional<double> quota = cgroup_cpu_quota(membership, "/sys/fs/cgroup");
  if (!quota) return num_cores;
  return std::clamp(static_cast<int>(*quota), 1, num_cores);
}

}  // namespace tutti
