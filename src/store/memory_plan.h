// How the memory is divided between weights, scratch and the KV cache, before the cache is taken.
#pragma once

#include <boost/json/object.hpp>
#include <cstddef>
#include <filesystem>
#include <string>

#include "base/result.h"

namespace tutti::store {

// What a process may take: what is free, or less.
struct MemoryBound {
  std::size_t bytes = 0;
  std::string source;  // "free memory", "the cgroup's limit", "--memory-limit"
};

// In bytes.
struct MemoryPlan {
  MemoryBound available;     // before the model was loaded
  double fraction = 1;       // of it that all of this may take
  std::size_t promised = 0;  // to request bodies and other models
  std::size_t weights = 0;   // mapped and repacked
  std::size_t scratch = 0;
  std::size_t spill = 0;     // the second tier of the prefix cache, as far as it is memory
  std::size_t program = 0;   // the processes themselves
  std::size_t kv_block = 0;  // of one block
  int num_blocks = 0;
  int max_model_len = 0;

  std::size_t kv_cache() const { return kv_block * static_cast<std::size_t>(num_blocks); }
  std::size_t total() const { return promised + weights + scratch + spill + program + kv_cache(); }
  std::size_t limit() const {
    return static_cast<std::size_t>(static_cast<double>(available.bytes) * fraction);
  }
};

struct MemoryNeeds {
  MemoryBound available;
  double fraction = 0;  // of `available` that may be taken, (0, 1]; 0: all, and a modest cache
  std::size_t promised = 0;
  std::size_t weights = 0;
  std::size_t scratch = 0;        // without that which grows with the context:
  std::size_t scratch_block = 0;  // rotary tables for each block of a sequence
  std::size_t spill = 0;
  std::size_t kv_block = 0;
  int model_context = 0;           // positions the model was made for
  int max_model_len = 0;           // asked for; 0: the model's own, or what fits
  std::size_t kv_cache_bytes = 0;  // asked for; 0: automatic
  int max_running = 0;
};

// Left for the program itself and for other processes.
inline constexpr std::size_t kMemoryReserve = std::size_t{150} << 20;

// The automatic cache takes half of what the rest leaves, but not less than one sequence of the
// whole context if that fits at all, and not more than sixteen of them. With a fraction it takes
// all that is left, up to max_running sequences of the whole context. Without an asked-for length
// the context shrinks to what fits, down to 512 positions. Errors: kInvalidArgument with all
// numbers, and the nearest setting with which it does, when it does not fit.
Result<MemoryPlan> plan_memory(const MemoryNeeds& needs);

// A table for people.
std::string plan_table(const std::string& model, const MemoryPlan& plan);
// The same in bytes: {model, available, bound, fraction, limit, promised, weights, scratch,
// kv_spill, program, kv_cache, total, num_blocks, block_bytes, max_model_len}.
boost::json::object plan_json(const std::string& model, const MemoryPlan& plan);

// Bytes that this process may still take: /proc/meminfo's MemAvailable, and what the limits of its
// cgroup (v2 or v1, and those above it) leave. `root` stands for "/" in tests.
// With `limit` over 0, no more than that.
MemoryBound available_memory(std::size_t limit = 0, const std::filesystem::path& root = "/");

// "1.5 GB", "273 MB"; decimal units.
std::string format_bytes(std::size_t bytes);

}  // namespace tutti::store
