// A fixed pool of pinned threads that work together on one job at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>

#include "base/result.h"

namespace tutti {

// Thread safety: `run` is called by one thread at a time; that thread is worker 0 of every job.
class ThreadPool {
 public:
  // `num_threads` >= 1 counts the calling thread; 0: one for each physical core that the process
  // was given (affinity mask and cgroup CPU quota respected, hyperthreads counted once).
  // `pin`: threads are bound to cores by hwloc; so is each thread that calls run(), and stays so.
  explicit ThreadPool(int num_threads = 0, bool pin = true);
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;
  ~ThreadPool();

  int num_threads() const;

  // Calls job(worker_index) on every worker and returns when all are done. Workers spin briefly
  // for the next job before they park.
  void run(const std::function<void(int)>& job);

  // Splits [0, count) into pieces of at least `grain`, one contiguous piece a worker, and calls
  // job(begin, end) for each non-empty piece.
  void parallel_for(std::size_t count, std::size_t grain,
                    const std::function<void(std::size_t, std::size_t)>& job);

  // How many pieces of work have been done: one for each job, and what jobs report between their
  // pieces by count_piece(), so that a long one is told from one that hangs. Any thread.
  std::uint64_t num_pieces() const;
  void count_piece();

  // Physical cores that this process may use: the default of `num_threads`.
  static int usable_cores();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace tutti
