#include "store/memory_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <limits>
#include <sstream>
#include <string>

#include "core/ids.h"

namespace tutti::store {
namespace {

namespace fs = std::filesystem;

constexpr int kMinContext = 512;
constexpr std::size_t kMaxFullSequences = 16;
constexpr std::size_t kUnlimited = std::numeric_limits<std::size_t>::max();

std::size_t blocks_for(int positions) {
  return (static_cast<std::size_t>(positions) + kBlockSize - 1) / kBlockSize;
}

Status does_not_fit(const MemoryNeeds& needs, std::size_t cache, const std::string& advice) {
  return invalid_argument(
      "kv_cache_size",
      fmt::format("the model does not fit: {} are available; weights take {}, scratch {}, the "
                  "cache {}, the program {}. {}",
                  format_bytes(needs.available), format_bytes(needs.weights),
                  format_bytes(needs.scratch), format_bytes(cache), format_bytes(kMemoryReserve),
                  advice));
}

// Blocks of an automatic cache, given what there is room for.
std::size_t automatic_blocks(const MemoryNeeds& needs, std::size_t affordable, int context) {
  const std::size_t one = blocks_for(context);
  const std::size_t sequences =
      std::min(kMaxFullSequences, static_cast<std::size_t>(std::max(1, needs.max_running)));
  return std::clamp(affordable / 2, std::min(one, affordable), one * sequences);
}

// The number in a file such as memory.max; kUnlimited for "max" and for a file that is missing.
std::size_t read_number(const fs::path& path) {
  std::ifstream file(path);
  std::size_t number = 0;
  return file >> number ? number : kUnlimited;
}

std::size_t read_meminfo(const fs::path& path) {
  std::ifstream file(path);
  std::string key, unit;
  std::size_t kib = 0;
  while (file >> key >> kib) {
    std::getline(file, unit);
    if (key == "MemAvailable:") return kib << 10;
  }
  return kUnlimited;
}

// Page cache that the kernel gives back under pressure counts as free.
std::size_t inactive_file_bytes(const fs::path& stat) {
  std::ifstream file(stat);
  std::string key;
  std::size_t bytes = 0;
  while (file >> key >> bytes) {
    if (key == "inactive_file" || key == "total_inactive_file") return bytes;
  }
  return 0;
}

// What one cgroup folder leaves; its files have other names in versions 1 and 2.
std::size_t cgroup_room(const fs::path& folder, const char* limit_name, const char* usage_name) {
  const std::size_t limit = read_number(folder / limit_name);
  const std::size_t usage = read_number(folder / usage_name);
  if (limit == kUnlimited || usage == kUnlimited) return kUnlimited;
  const std::size_t used = usage - std::min(usage, inactive_file_bytes(folder / "memory.stat"));
  return limit - std::min(limit, used);
}

// Walks from a cgroup's folder up to its mount; inside a container only the mount itself exists.
std::size_t hierarchy_room(const fs::path& mount, const std::string& relative,
                           const char* limit_name, const char* usage_name) {
  std::size_t room = cgroup_room(mount, limit_name, usage_name);
  fs::path inner = fs::path(relative).relative_path().lexically_normal();
  while (!inner.empty() && inner != "." && *inner.begin() != "..") {
    room = std::min(room, cgroup_room(mount / inner, limit_name, usage_name));
    inner = inner.parent_path();
  }
  return room;
}

}  // namespace

Result<MemoryPlan> plan_memory(const MemoryNeeds& needs) {
  MemoryPlan plan{needs.available, needs.weights, needs.scratch, needs.kv_block, 0, 0};
  const std::size_t fixed = needs.weights + needs.scratch + kMemoryReserve;
  const int asked = needs.max_model_len > 0 ? needs.max_model_len : needs.model_context;
  const std::size_t one_sequence = blocks_for(asked) * needs.kv_block;
  if (fixed >= needs.available) {
    return does_not_fit(needs, one_sequence, "Take a smaller or a more quantised model.");
  }
  const std::size_t affordable = (needs.available - fixed) / needs.kv_block;
  std::size_t num_blocks = needs.kv_cache_bytes > 0 ? needs.kv_cache_bytes / needs.kv_block
                                                    : automatic_blocks(needs, affordable, asked);
  if (num_blocks > affordable) {
    return does_not_fit(needs, needs.kv_cache_bytes, "Lower --kv-cache-size.");
  }
  plan.max_model_len = asked;
  if (num_blocks < blocks_for(asked)) {
    const std::size_t positions = num_blocks * kBlockSize;
    if (needs.max_model_len > 0 || positions < kMinContext) {
      return does_not_fit(needs, one_sequence,
                          fmt::format("One sequence of {} tokens needs {} of cache; there is room "
                                      "for {} tokens. Lower --max-model-len or raise "
                                      "--kv-cache-size.",
                                      asked, format_bytes(one_sequence), positions));
    }
    plan.max_model_len = static_cast<int>(positions);
  }
  plan.num_blocks = static_cast<int>(
      std::min<std::size_t>(num_blocks, std::numeric_limits<int>::max() / kBlockSize));
  return plan;
}

std::size_t available_memory(const fs::path& root) {
  std::size_t available = read_meminfo(root / "proc/meminfo");
  std::ifstream groups(root / "proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {  // "0::/path" or "5:memory:/path"
    const std::size_t first = line.find(':');
    const std::size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const std::string path = line.substr(second + 1);
    const fs::path mount = root / "sys/fs/cgroup";
    if (controllers.empty()) {
      available = std::min(available, hierarchy_room(mount, path, "memory.max", "memory.current"));
    } else if (controllers == "memory") {
      available = std::min(
          available,
          hierarchy_room(mount / "memory", path, "memory.limit_in_bytes", "memory.usage_in_bytes"));
    }
  }
  return available;
}

std::string format_bytes(std::size_t bytes) {
  const double value = static_cast<double>(bytes);
  if (value >= 1e9) return fmt::format("{:.1f} GB", value / 1e9);
  if (value >= 1e6) return fmt::format("{:.0f} MB", value / 1e6);
  if (value >= 1e3) return fmt::format("{:.0f} KB", value / 1e3);
  return fmt::format("{} bytes", bytes);
}

}  // namespace tutti::store
