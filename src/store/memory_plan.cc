#include "store/memory_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
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

std::size_t positions_in(std::size_t num_blocks) { return num_blocks * kBlockSize; }

// What everything takes but the cache and the scratch that grows with the context.
std::size_t fixed_bytes(const MemoryNeeds& needs) {
  return needs.promised + needs.weights + needs.scratch + needs.spill + kMemoryReserve;
}

std::size_t budget_of(const MemoryNeeds& needs) {
  const double fraction = needs.fraction > 0 ? needs.fraction : 1;
  return static_cast<std::size_t>(static_cast<double>(needs.available.bytes) * fraction);
}

// Blocks that there is room for beside a context of `context_blocks`.
std::size_t affordable_blocks(const MemoryNeeds& needs, std::size_t context_blocks) {
  const std::size_t fixed = fixed_bytes(needs) + needs.scratch_block * context_blocks;
  const std::size_t budget = budget_of(needs);
  return budget > fixed ? (budget - fixed) / needs.kv_block : 0;
}

// Blocks of the longest context that there is room for once.
std::size_t longest_context_blocks(const MemoryNeeds& needs) {
  const std::size_t fixed = fixed_bytes(needs), budget = budget_of(needs);
  return budget > fixed ? (budget - fixed) / (needs.kv_block + needs.scratch_block) : 0;
}

Status does_not_fit(const MemoryNeeds& needs, std::size_t cache, const std::string& advice) {
  const std::string share =
      needs.fraction > 0
          ? fmt::format(", of which --memory-fraction allows {}", format_bytes(budget_of(needs)))
          : "";
  const std::string promised =
      needs.promised > 0
          ? fmt::format(", request bodies and other models {}", format_bytes(needs.promised))
          : "";
  const std::string spill = needs.spill > 0 ? fmt::format(", spilled blocks {} (--kv-spill-size)",
                                                          format_bytes(needs.spill))
                                            : "";
  return invalid_argument(
      "kv_cache_size",
      fmt::format("the model does not fit: {} are available ({}){}; weights take {}, scratch {}, "
                  "the cache {}, the program {}{}{}. {}",
                  format_bytes(needs.available.bytes), needs.available.source, share,
                  format_bytes(needs.weights), format_bytes(needs.scratch), format_bytes(cache),
                  format_bytes(kMemoryReserve), spill, promised, advice));
}

// Not even the shortest context has room.
Status nothing_fits(const MemoryNeeds& needs, int asked) {
  const int shortest = std::min(asked, kMinContext);
  const std::size_t cache = blocks_for(shortest) * needs.kv_block;
  const std::size_t needed =
      fixed_bytes(needs) + cache + blocks_for(shortest) * needs.scratch_block;
  std::string settings = fmt::format("--max-model-len {}", shortest);
  if (needs.kv_cache_bytes > 0) settings += fmt::format(" --kv-cache-size {}", cache);
  if (needs.fraction > 0 && needed <= needs.available.bytes) {
    const double share =
        static_cast<double>(needed) / static_cast<double>(needs.available.bytes) * 1000;
    return does_not_fit(needs, cache,
                        fmt::format("--memory-fraction {:g} with {} would fit.",
                                    std::min(std::floor(share) + 1, 1000.0) / 1000, settings));
  }
  return does_not_fit(
      needs, cache,
      fmt::format("It takes {} ({} bytes) with {}: give it as much, or take a smaller or a more "
                  "quantised model.",
                  format_bytes(needed), needed, settings));
}

// The cache has fewer blocks than a sequence of the context that was asked for.
Status too_little_cache(const MemoryNeeds& needs, int asked, std::size_t num_blocks) {
  const int shortest = std::min(asked, kMinContext);
  const std::size_t one_sequence = blocks_for(asked) * needs.kv_block;
  const std::size_t longest = longest_context_blocks(needs);
  std::string advice;
  if (positions_in(num_blocks) >= static_cast<std::size_t>(shortest)) {
    advice = fmt::format("--max-model-len {} would fit.", positions_in(num_blocks));
  } else if (longest < blocks_for(asked)) {
    advice = fmt::format("--max-model-len {} with --kv-cache-size {} would fit.", shortest,
                         blocks_for(shortest) * needs.kv_block);
  }
  if (longest >= blocks_for(asked)) {
    advice +=
        fmt::format("{}--kv-cache-size {} would fit.", advice.empty() ? "" : " ", one_sequence);
  }
  return does_not_fit(needs, one_sequence, advice);
}

// The cache that was asked for has no room.
Status too_much_cache(const MemoryNeeds& needs, int asked) {
  const std::size_t longest = longest_context_blocks(needs);
  if (longest >= blocks_for(asked)) {
    const std::size_t affordable = affordable_blocks(needs, blocks_for(asked));
    return does_not_fit(needs, needs.kv_cache_bytes,
                        fmt::format("--kv-cache-size {} would fit.", affordable * needs.kv_block));
  }
  const std::string length =
      needs.max_model_len > 0 ? fmt::format("--max-model-len {} with ", positions_in(longest)) : "";
  return does_not_fit(
      needs, needs.kv_cache_bytes,
      fmt::format("{}--kv-cache-size {} would fit.", length, longest * needs.kv_block));
}

// Blocks of an automatic cache.
std::size_t automatic_blocks(const MemoryNeeds& needs, int context) {
  const std::size_t one = blocks_for(context), longest = longest_context_blocks(needs);
  if (longest < one) return longest;
  const std::size_t affordable = affordable_blocks(needs, one);
  const auto max_running = static_cast<std::size_t>(std::max(1, needs.max_running));
  if (needs.fraction > 0) return std::min(affordable, one * max_running);
  const std::size_t sequences = std::min(kMaxFullSequences, max_running);
  return std::clamp(affordable / 2, one, one * sequences);
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
  MemoryPlan plan;
  plan.available = needs.available;
  plan.fraction = needs.fraction > 0 ? needs.fraction : 1;
  plan.promised = needs.promised;
  plan.weights = needs.weights;
  plan.spill = needs.spill;
  plan.program = kMemoryReserve;
  plan.kv_block = needs.kv_block;

  const int asked = needs.max_model_len > 0 ? needs.max_model_len : needs.model_context;
  const std::size_t shortest = blocks_for(std::min(asked, kMinContext));
  if (affordable_blocks(needs, shortest) < shortest) return nothing_fits(needs, asked);

  const std::size_t num_blocks = needs.kv_cache_bytes > 0 ? needs.kv_cache_bytes / needs.kv_block
                                                          : automatic_blocks(needs, asked);
  const std::size_t context_blocks = std::min(blocks_for(asked), num_blocks);
  if (num_blocks > affordable_blocks(needs, context_blocks)) return too_much_cache(needs, asked);
  plan.max_model_len = asked;
  if (num_blocks < blocks_for(asked)) {
    const std::size_t positions = positions_in(num_blocks);
    if (needs.max_model_len > 0 || positions < kMinContext) {
      return too_little_cache(needs, asked, num_blocks);
    }
    plan.max_model_len = static_cast<int>(positions);
  }
  plan.scratch = needs.scratch + needs.scratch_block * context_blocks;
  plan.num_blocks = static_cast<int>(
      std::min<std::size_t>(num_blocks, std::numeric_limits<int>::max() / kBlockSize));
  return plan;
}

std::string plan_table(const std::string& model, const MemoryPlan& plan) {
  std::string table = fmt::format("Memory plan of {}\n", model);
  const auto row = [&table](const char* what, std::size_t bytes, const std::string& note) {
    table += fmt::format("  {:<22} {:>9}{}{}\n", what, format_bytes(bytes),
                         note.empty() ? "" : "  ", note);
  };
  row("weights", plan.weights, "");
  row("KV cache", plan.kv_cache(),
      fmt::format("{} blocks of {} positions", plan.num_blocks, kBlockSize));
  row("scratch", plan.scratch, "");
  if (plan.spill > 0) row("spilled blocks", plan.spill, "--kv-spill-dir, as far as it is memory");
  row("program", plan.program, "");
  if (plan.promised > 0) row("promised", plan.promised, "to request bodies and other models");
  row("in all", plan.total(), "");
  row("may be taken", plan.limit(),
      plan.fraction < 1 ? fmt::format("{:g} of {}", plan.fraction, plan.available.source)
                        : plan.available.source);
  const int sequences = plan.num_blocks / static_cast<int>(blocks_for(plan.max_model_len));
  return table + fmt::format("  contexts of up to {} tokens, {} as long as that at once\n",
                             plan.max_model_len, sequences);
}

boost::json::object plan_json(const std::string& model, const MemoryPlan& plan) {
  return {{"model", model},
          {"available", plan.available.bytes},
          {"bound", plan.available.source},
          {"fraction", plan.fraction},
          {"limit", plan.limit()},
          {"promised", plan.promised},
          {"weights", plan.weights},
          {"scratch", plan.scratch},
          {"kv_spill", plan.spill},
          {"program", plan.program},
          {"kv_cache", plan.kv_cache()},
          {"total", plan.total()},
          {"num_blocks", plan.num_blocks},
          {"block_bytes", plan.kv_block},
          {"max_model_len", plan.max_model_len}};
}

MemoryBound available_memory(std::size_t limit, const fs::path& root) {
  const std::size_t free = read_meminfo(root / "proc/meminfo");
  std::size_t available = free;
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
  if (limit > 0 && limit <= available) return {limit, "--memory-limit"};
  return {available, available < free ? "the cgroup's limit" : "free memory"};
}

std::string format_bytes(std::size_t bytes) {
  const double value = static_cast<double>(bytes);
  if (value >= 1e9) return fmt::format("{:.1f} GB", value / 1e9);
  if (value >= 1e6) return fmt::format("{:.0f} MB", value / 1e6);
  if (value >= 1e3) return fmt::format("{:.0f} KB", value / 1e3);
  return fmt::format("{} bytes", bytes);
}

}  // namespace tutti::store
