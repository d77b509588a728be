#include "formats/model_source.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>

#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "formats/chat_template_files.h"
#include "formats/display.h"

namespace tutti::formats {
namespace {
namespace fs = std::filesystem;

constexpr std::size_t kMaxConfigBytes = std::size_t{16} << 20;
constexpr std::uint64_t kMaxSplitParts = 1000;

// A JSON file of a folder; an empty object when it is not there.
Result<json::object> read_optional_config(const fs::path& path) {
  std::error_code ignored;
  if (!fs::exists(path, ignored)) return json::object();
  TUTTI_ASSIGN_OR_RETURN(const std::string text, read_file(path, kMaxConfigBytes));
  return parse_config_json(text, path.string());
}

// The name of part `index` (from 0) beside part 0, "name-00001-of-00003.gguf"; empty when the
// first's name has another form.
std::string split_part_name(const std::string& first_name, std::uint64_t index,
                            std::uint64_t count) {
  const std::string first_ending = fmt::format("-{:05}-of-{:05}.gguf", 1, count);
  if (!first_name.ends_with(first_ending)) return {};
  return first_name.substr(0, first_name.size() - first_ending.size()) +
         fmt::format("-{:05}-of-{:05}.gguf", index + 1, count);
}

// Number of parts that a file says it is split into; 1 for a file that is not split.
Result<std::uint64_t> split_count(const GgufFile& file) {
  if (!file.has("split.count")) return std::uint64_t{1};
  TUTTI_ASSIGN_OR_RETURN(const std::uint64_t count, file.get_uint("split.count"));
  if (count > kMaxSplitParts) {
    return corrupt(fmt::format("{}: key \"split.count\" is {}, must be at most {}", file.name(),
                               count, kMaxSplitParts));
  }
  return std::max<std::uint64_t>(count, 1);
}

Result<std::uint64_t> split_index(const GgufFile& file) {
  if (!file.has("split.no")) return std::uint64_t{0};
  return file.get_uint("split.no");
}

}  // namespace

Result<ModelSource> ModelSource::open(const fs::path& path, ModelParts parts) {
  std::error_code error;
  const fs::file_status file_status = fs::status(path, error);
  if (!fs::exists(file_status)) return not_found(fmt::format("{}: no such file", path.string()));
  ModelSource source;
  source.path_ = path;
  const std::string extension = path.extension().string();
  if (fs::is_directory(file_status)) {
    TUTTI_RETURN_IF_ERROR(source.open_folder(path, parts));
  } else if (is_pickle_extension(extension)) {
    return pickle_refused(path);
  } else if (extension == ".safetensors") {
    return unsupported(fmt::format(
        "{}: name the folder that holds it, so that its config.json is found", path.string()));
  } else {
    TUTTI_RETURN_IF_ERROR(source.open_gguf(path));
  }
  TUTTI_RETURN_IF_ERROR(source.build_index());
  for (const std::string& warning : source.generation_config_.warnings) log::warn("{}", warning);
  return source;
}

Status ModelSource::open_gguf(const fs::path& path) {
  TUTTI_ASSIGN_OR_RETURN(GgufFile first, GgufFile::open(path));
  TUTTI_ASSIGN_OR_RETURN(const std::uint64_t count, split_count(first));
  TUTTI_ASSIGN_OR_RETURN(const std::uint64_t first_index, split_index(first));
  if (first_index != 0) {
    return Status(ErrorKind::kInvalidArgument,
                  fmt::format("{}: part {} of a split model; name its first part", path.string(),
                              first_index + 1));
  }
  gguf_files_.push_back(std::move(first));
  for (std::uint64_t i = 1; i < count; ++i) {
    const std::string name = split_part_name(path.filename().string(), i, count);
    if (name.empty()) {
      return corrupt(
          fmt::format("{}: one of {} parts, so its name must end in -00001-of-{:05}.gguf",
                      path.string(), count, count));
    }
    TUTTI_ASSIGN_OR_RETURN(GgufFile part, GgufFile::open(path.parent_path() / name));
    TUTTI_ASSIGN_OR_RETURN(const std::uint64_t part_count, split_count(part));
    TUTTI_ASSIGN_OR_RETURN(const std::uint64_t part_index, split_index(part));
    if (part_count != count || part_index != i) {
      return corrupt(fmt::format("{}: says it is part {} of {}, must be {} of {}", part.name(),
                                 part_index + 1, part_count, i + 1, count));
    }
    gguf_files_.push_back(std::move(part));
  }
  for (const GgufFile& file : gguf_files_) {
    tensors_.insert(tensors_.end(), file.tensors().begin(), file.tensors().end());
  }
  generation_config_ = generation_config_of(*gguf());
  TUTTI_ASSIGN_OR_RETURN(chat_templates_, chat_templates_of(*gguf()));
  return Status();
}

Status ModelSource::open_folder(const fs::path& folder, ModelParts parts) {
  std::error_code ignored;
  if (parts == ModelParts::kAll && !fs::exists(folder / "config.json", ignored)) {
    return not_found(fmt::format("{}: config.json is not there", folder.string()));
  }
  TUTTI_RETURN_IF_ERROR(read_folder_texts(folder));
  if (parts == ModelParts::kTokenizer) {
    if (tokenizer_json_path_ || !chat_templates_.empty()) return Status();
    return not_found(
        fmt::format("{}: neither tokenizer.json nor a chat template is there", folder.string()));
  }
  TUTTI_ASSIGN_OR_RETURN(safetensors_, SafetensorsSet::open(folder));
  tensors_ = safetensors_->tensors();
  return Status();
}

Status ModelSource::read_folder_texts(const fs::path& folder) {
  TUTTI_ASSIGN_OR_RETURN(config_, read_optional_config(folder / "config.json"));
  TUTTI_ASSIGN_OR_RETURN(tokenizer_config_, read_optional_config(folder / "tokenizer_config.json"));
  const fs::path generation_path = folder / "generation_config.json";
  TUTTI_ASSIGN_OR_RETURN(const json::object generation, read_optional_config(generation_path));
  generation_config_ = parse_generation_config(generation, generation_path.string());
  if (generation_config_.eos_token_ids.empty()) {
    // Older checkpoints name their end tokens only here; composite ones in the text model's part.
    const json::value* text_config = config_.if_contains("text_config");
    const bool is_composite = text_config != nullptr && text_config->is_object();
    const json::object& own =
        is_composite && !config_.contains("eos_token_id") ? text_config->get_object() : config_;
    json::object ends;
    if (const json::value* ids = own.if_contains("eos_token_id")) ends["eos_token_id"] = *ids;
    const std::string name = (folder / "config.json").string();
    const GenerationConfig from_config = parse_generation_config(ends, name);
    generation_config_.eos_token_ids = from_config.eos_token_ids;
    std::copy(from_config.warnings.begin(), from_config.warnings.end(),
              std::back_inserter(generation_config_.warnings));
  }
  std::error_code ignored;
  const fs::path tokenizer_json = folder / "tokenizer.json";
  if (fs::exists(tokenizer_json, ignored)) tokenizer_json_path_ = tokenizer_json;
  TUTTI_ASSIGN_OR_RETURN(chat_templates_, chat_templates_of(folder, tokenizer_config_));
  return Status();
}

Status ModelSource::build_index() {
  tensor_index_.reserve(tensors_.size());
  for (std::size_t i = 0; i < tensors_.size(); ++i) {
    if (tensor_index_.emplace(tensors_[i].name, i).second) continue;
    return corrupt(fmt::format("{}: tensor {} occurs in two of its files", path_.string(),
                               display(tensors_[i].name)));
  }
  return Status();
}

std::optional<std::string> ModelSource::named_chat_template(std::string_view name) const {
  const auto found = chat_templates_.find(name);
  if (found == chat_templates_.end()) return std::nullopt;
  return found->second;
}

const TensorView* ModelSource::find_tensor(std::string_view name) const {
  const auto found = tensor_index_.find(name);
  return found == tensor_index_.end() ? nullptr : &tensors_[found->second];
}

Result<const TensorView*> ModelSource::find_weight(std::string_view name) const {
  const TensorView* tensor = find_tensor(name);
  if (tensor == nullptr) {
    return not_found(fmt::format("{}: tensor {} is missing", path_.string(), name));
  }
  if (!dtype_info(tensor->dtype).is_weight) {
    return unsupported(fmt::format("{}: tensor {} has type {}, which is not supported yet",
                                   path_.string(), name, to_string(tensor->dtype)));
  }
  return tensor;
}

void ModelSource::release_pages(const TensorView& tensor) const {
  const auto release_in = [&tensor](const MappedFile& file) {
    const std::less_equal<> before;  // a total order, also between separate mappings
    const std::byte* begin = file.bytes().data();
    if (before(begin, tensor.bytes.data()) &&
        before(tensor.bytes.data() + tensor.bytes.size(), begin + file.bytes().size())) {
      file.release_pages(static_cast<std::size_t>(tensor.bytes.data() - begin),
                         tensor.bytes.size());
    }
  };
  for (const GgufFile& file : gguf_files_) release_in(file.mapped_file());
  if (!safetensors_) return;
  for (const SafetensorsFile& file : safetensors_->files()) release_in(file.mapped_file());
}

}  // namespace tutti::formats
