#include <fmt/format.h>

#include <map>
#include <set>

#include "base/json.h"
#include "formats/display.h"
#include "formats/model_source.h"
#include "formats/safetensors.h"

namespace tutti::formats {
namespace {
namespace fs = std::filesystem;

constexpr std::string_view kSingleName = "model.safetensors";
constexpr std::string_view kIndexName = "model.safetensors.index.json";
constexpr std::size_t kMaxIndexBytes = std::size_t{64} << 20;
constexpr std::size_t kMaxShards = 4096;

using WeightMap = std::map<std::string, std::string, std::less<>>;  // tensor -> file

// A file of the folder itself: no separators, no "." or "..", the right ending.
bool is_plain_shard_name(std::string_view name) {
  return name.ends_with(".safetensors") && name.size() <= 255 &&
         name.find_first_of(std::string_view("/\\\0:", 4)) == std::string_view::npos &&
         !name.starts_with('.');
}

Result<WeightMap> read_index(const fs::path& path) {
  TUTTI_ASSIGN_OR_RETURN(const std::string text, read_file(path, kMaxIndexBytes));
  JsonLimits limits;
  limits.max_depth = 8;
  const auto root = parse_json(text, limits);
  if (!root.ok()) return root.status().with_context(path.string());
  const json::object* object = root->if_object();
  const json::value* map = object == nullptr ? nullptr : object->if_contains("weight_map");
  if (map == nullptr || !map->is_object()) {
    return corrupt(fmt::format("{}: weight_map must be an object", path.string()));
  }
  WeightMap weight_map;
  for (const auto& [tensor, file] : map->get_object()) {
    if (!file.is_string() || !is_plain_shard_name(file.get_string())) {
      return corrupt(fmt::format(
          "{}: weight_map: tensor {} must name a .safetensors file of this folder, without a path",
          path.string(), display(tensor)));
    }
    weight_map.emplace(std::string_view(tensor), std::string_view(file.get_string()));
  }
  return weight_map;
}

// What to say about a folder that has neither of the two files.
Status no_weights(const fs::path& folder) {
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    const std::string extension = entry->path().extension().string();
    if (is_pickle_extension(extension)) return pickle_refused(entry->path());
  }
  return not_found(
      fmt::format("{}: neither {} nor {} is there", folder.string(), kSingleName, kIndexName));
}

}  // namespace

bool is_pickle_extension(std::string_view extension) {
  return extension == ".bin" || extension == ".pt" || extension == ".pth" || extension == ".ckpt" ||
         extension == ".pkl" || extension == ".pickle";
}

Status pickle_refused(const fs::path& path) {
  return unsupported(fmt::format(
      "{}: pickled weights run code when they are read and are never loaded; use safetensors or "
      "GGUF",
      path.string()));
}

Result<SafetensorsSet> SafetensorsSet::open(const fs::path& folder) {
  std::error_code ignored;
  const fs::path index_path = folder / kIndexName;
  SafetensorsSet set;
  if (!fs::exists(index_path, ignored)) {
    if (!fs::exists(folder / kSingleName, ignored)) return no_weights(folder);
    TUTTI_ASSIGN_OR_RETURN(SafetensorsFile file, SafetensorsFile::open(folder / kSingleName));
    set.tensors_ = file.tensors();
    set.files_.push_back(std::move(file));
    return set;
  }
  TUTTI_ASSIGN_OR_RETURN(const WeightMap weight_map, read_index(index_path));
  std::set<std::string, std::less<>> shards;
  for (const auto& [tensor, shard] : weight_map) shards.insert(shard);
  if (shards.size() > kMaxShards) {
    return corrupt(fmt::format("{}: names {} files, more than the limit of {}", index_path.string(),
                               shards.size(), kMaxShards));
  }
  for (const std::string& shard : shards) {
    TUTTI_ASSIGN_OR_RETURN(SafetensorsFile file, SafetensorsFile::open(folder / shard));
    for (const TensorView& tensor : file.tensors()) {
      const auto mapped = weight_map.find(tensor.name);
      if (mapped != weight_map.end() && mapped->second == shard) set.tensors_.push_back(tensor);
    }
    set.files_.push_back(std::move(file));
  }
  if (set.tensors_.size() == weight_map.size()) return set;
  std::set<std::string_view> present;
  for (const TensorView& tensor : set.tensors_) present.insert(tensor.name);
  for (const auto& [tensor, shard] : weight_map) {
    if (present.contains(tensor)) continue;
    return corrupt(fmt::format("{}: tensor {} is not in {}", index_path.string(), display(tensor),
                               display(shard)));
  }
  return set;
}

}  // namespace tutti::formats
