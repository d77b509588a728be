// Where a model's second tier of the prefix cache is kept, and what of it is memory.
#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>

#include "store/engine_model.h"

namespace tutti::formats {
class ModelSource;
}
namespace tutti::model {
struct ModelDescription;
}

namespace tutti::store {

struct SpillPlan {
  std::filesystem::path file;
  std::size_t max_bytes = 0;  // of the file
  // To be planned: the buffers, and what the file may still grow by where files are in memory.
  std::size_t memory = 0;
};

// nullopt when the options want none. Without a size the file takes up to kDefaultSpillBytes, and
// no more than half of what is free on its file system.
std::optional<SpillPlan> plan_spill(const LoadOptions& options,
                                    const std::filesystem::path& model_path,
                                    std::size_t block_bytes);

inline constexpr std::size_t kDefaultSpillBytes = std::size_t{4} << 30;

// All that the bits of the model's blocks depend on but tokens: weights (samples of each tensor),
// arithmetic, cache and program.
std::string spill_identity(const formats::ModelSource& source,
                           const model::ModelDescription& description, const device::Ops& ops,
                           const LoadOptions& options);

}  // namespace tutti::store
