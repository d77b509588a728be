// A model on disk, opened: its tensors, its configuration and its chat templates, whatever the
// layout. What the hyper-parameters mean is model/'s business.
//
// Layouts: a .gguf file; the first part of a split one (name-00001-of-00003.gguf, the rest beside
// it); a folder as Hugging Face publishes it.
#pragma once

#include <boost/json/object.hpp>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "formats/generation_config.h"
#include "formats/gguf.h"
#include "formats/safetensors.h"
#include "tensor/tensor_view.h"

namespace tutti::formats {

// Which parts of a folder must be there.
enum class ModelParts {
  kAll,        // config.json and weights
  kTokenizer,  // tokenizer.json, or a GGUF (which may hold no tensors); weights are not opened
};

// Thread safety: constant after construction. Views point into its mapped files.
class ModelSource {
 public:
  // Errors: kNotFound (path or a file the layout needs), kCorrupt and kUnsupported from the files;
  // all name the file.
  static Result<ModelSource> open(const std::filesystem::path& path,
                                  ModelParts parts = ModelParts::kAll);

  const std::filesystem::path& path() const { return path_; }

  // The file with the metadata (the first part of a split one); nullptr for a folder.
  const GgufFile* gguf() const { return gguf_files_.empty() ? nullptr : &gguf_files_.front(); }
  const std::vector<GgufFile>& gguf_files() const { return gguf_files_; }

  // Empty for a GGUF.
  const boost::json::object& config() const { return config_; }
  const boost::json::object& tokenizer_config() const { return tokenizer_config_; }

  // From generation_config.json, or a GGUF's own keys; its warnings were logged by whoever opened.
  const GenerationConfig& generation_config() const { return generation_config_; }

  // A folder's tokenizer.json; nullopt when there is none, and for a GGUF.
  const std::optional<std::filesystem::path>& tokenizer_json_path() const {
    return tokenizer_json_path_;
  }

  // The template named "default", or the only one. A folder's chat_template.jinja wins over
  // tokenizer_config.json; a GGUF has tokenizer.chat_template.
  std::optional<std::string> chat_template() const { return named_chat_template("default"); }
  // "tool_use", "rag", …
  std::optional<std::string> named_chat_template(std::string_view name) const;
  const std::map<std::string, std::string, std::less<>>& chat_templates() const {
    return chat_templates_;
  }

  // Of all files; every name once.
  const std::vector<TensorView>& tensors() const { return tensors_; }
  // nullptr when there is none of that name.
  const TensorView* find_tensor(std::string_view name) const;
  // A tensor to compute with. Errors: kNotFound; kUnsupported for a type that dequantize_row does
  // not read ("tensor blk.0.attn_q.weight has type Q2_K, which is not supported yet").
  Result<const TensorView*> find_weight(std::string_view name) const;

  // Says that a tensor of this source will not be read again soon, for instance since its values
  // were repacked: its pages leave resident memory. The bytes stay readable.
  void release_pages(const TensorView& tensor) const;

 private:
  Status open_gguf(const std::filesystem::path& path);
  Status open_folder(const std::filesystem::path& folder, ModelParts parts);
  Status read_folder_texts(const std::filesystem::path& folder);
  Status build_index();

  std::filesystem::path path_;
  std::vector<GgufFile> gguf_files_;
  std::optional<SafetensorsSet> safetensors_;
  boost::json::object config_;
  boost::json::object tokenizer_config_;
  GenerationConfig generation_config_;
  std::optional<std::filesystem::path> tokenizer_json_path_;
  std::map<std::string, std::string, std::less<>> chat_templates_;
  std::vector<TensorView> tensors_;
  std::unordered_map<std::string_view, std::size_t> tensor_index_;  // keys point into tensors_
};

// JSON as Python's json module writes it: NaN, Infinity and -Infinity outside strings become null;
// a repeated key's last value wins. Must be an object. Errors name `file_name`.
Result<boost::json::object> parse_config_json(std::string_view text, const std::string& file_name);

}  // namespace tutti::formats
