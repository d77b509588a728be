#include "store/spill_plan.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <vector>

#include "base/checksum.h"
#include "cache/spill_storage.h"
#include "cache/spill_store.h"
#include "formats/model_source.h"
#include "model/description.h"

namespace tutti::store {
namespace {

namespace fs = std::filesystem;

// Raised when the bits of a cached block change for the same tokens.
constexpr int kSpillLayout = 1;

std::uint64_t checksum_of_text(const std::string& text) {
  return checksum_of(std::as_bytes(std::span(text)));
}

// Room that the file has already on the disk.
std::size_t allocated_bytes(const fs::path& file) {
  struct stat status {};
  if (::stat(file.c_str(), &status) != 0) return 0;
  return static_cast<std::size_t>(status.st_blocks) * 512;
}

std::size_t free_bytes(fs::path folder) {
  std::error_code error;
  folder = fs::absolute(folder, error);
  while (!fs::exists(folder, error) && folder.has_relative_path()) folder = folder.parent_path();
  const fs::space_info space = fs::space(folder, error);
  return error ? 0 : static_cast<std::size_t>(space.available);
}

// Of the names, shapes and samples of all tensors: the first bytes, those in the middle and the
// last ones.
std::uint64_t fingerprint(const formats::ModelSource& source) {
  constexpr std::size_t kSample = 4096;
  std::string text;
  for (const TensorView& tensor : source.tensors()) {
    const std::span<const std::byte> bytes = tensor.bytes;
    const std::size_t size = std::min(kSample, bytes.size());
    text += fmt::format("{} {} {}", tensor.name, shape_to_string(tensor.shape), bytes.size());
    for (const std::size_t begin :
         {std::size_t{0}, (bytes.size() - size) / 2, bytes.size() - size}) {
      text += fmt::format(" {:x}", checksum_of(bytes.subspan(begin, size)));
    }
  }
  return checksum_of_text(text);
}

}  // namespace

std::optional<SpillPlan> plan_spill(const LoadOptions& options, const fs::path& model_path,
                                    std::size_t block_bytes) {
  if (options.spill_dir.empty()) return std::nullopt;
  std::error_code error;
  const std::string path = fs::weakly_canonical(model_path, error).string();
  SpillPlan plan;
  plan.file = options.spill_dir /
              fmt::format("{}-{:016x}.kv", model_path.stem().string(), checksum_of_text(path));
  const std::size_t allocated = allocated_bytes(plan.file);
  plan.max_bytes = options.spill_bytes;
  if (plan.max_bytes == 0) {
    plan.max_bytes = std::min(kDefaultSpillBytes, (free_bytes(options.spill_dir) + allocated) / 2);
  }
  plan.memory = cache::SpillStore::buffer_bytes(block_bytes);
  if (cache::is_in_memory(options.spill_dir)) {
    plan.memory += plan.max_bytes - std::min(plan.max_bytes, allocated);
  }
  return plan;
}

std::string spill_identity(const formats::ModelSource& source,
                           const model::ModelDescription& description, const device::Ops& ops,
                           const LoadOptions& options) {
  const bool depends_on_context =
      std::any_of(description.ropes.begin(), description.ropes.end(),
                  [](const auto& rope) { return rope.scaling == model::RopeScaling::kLongRope; });
  return fmt::format(
      "tutti {} layout {}, {} {} with a cache of {}, blocks of {}, {} layers, {} heads of {}, "
      "context "
      "{}, weights {:016x}",
      TUTTI_VERSION, kSpillLayout, device::to_string(ops.compute_class()),
      device::to_string(ops.isa()), device::to_string(options.ops.kv_dtype), kBlockSize,
      description.num_layers, description.num_kv_heads, description.head_dim,
      depends_on_context ? options.max_model_len : 0, fingerprint(source));
}

}  // namespace tutti::store
