// How the memory is divided between weights, scratch and the KV cache, before the cache is taken.
#pragma once

#include <cstddef>
#include <filesystem>

#include "base/result.h"

namespace tutti::store {

// In bytes.
struct MemoryPlan {
  std::size_t available = 0;  // free before the model was loaded, cgroup limit respected
  std::size_t weights = 0;    // mapped and repacked
  std::size_t scratch = 0;
  std::size_t kv_block = 0;  // of one block
  int num_blocks = 0;
  int max_model_len = 0;

  std::size_t kv_cache() const { return kv_block * static_cast<std::size_t>(num_blocks); }
};

struct MemoryNeeds {
  std::size_t available = 0;
  std::size_t weights = 0;
  std::size_t scratch = 0;
  std::size_t kv_block = 0;
  int model_context = 0;           // positions the model was made for
  int max_model_len = 0;           // asked for; 0: the model's own, or what fits
  std::size_t kv_cache_bytes = 0;  // asked for; 0: automatic
  int max_running = 0;
};

// Left for the program itself and for other processes.
inline constexpr std::size_t kMemoryReserve = std::size_t{150} << 20;

// The automatic cache takes half of what weights, scratch and reserve leave, but not less than one
// sequence of the whole context if that fits at all, and not more than sixteen of them. Without an
// asked-for length the context shrinks to what fits, down to 512 positions.
// Errors: kInvalidArgument with all numbers when it does not fit.
Result<MemoryPlan> plan_memory(const MemoryNeeds& needs);

// Bytes that this process may still take: /proc/meminfo's MemAvailable, and what the limits of its
// cgroup (v2 or v1, and those above it) leave. `root` stands for "/" in tests.
std::size_t available_memory(const std::filesystem::path& root = "/");

// "1.5 GB", "273 MB"; decimal units.
std::string format_bytes(std::size_t bytes);

}  // namespace tutti::store
