// safetensors: a JSON header and one buffer, memory-mapped; and the folders that split a model over
// several such files.
//
// Format: github.com/huggingface/safetensors#format
//   u64 length of header | header: {"name": {"dtype": "BF16", "shape": [2, 3],
//   "data_offsets": [0, 12]}, …, "__metadata__": {"key": "text"}} | buffer.
// As the reference does, a file is refused unless the tensors cover the buffer without holes or
// overlaps. Pickled weights (.bin, .pt, .pth) are refused by name: reading one runs its code.
#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/file.h"
#include "base/result.h"
#include "tensor/tensor_view.h"

namespace tutti::formats {

// Thread safety: constant after construction.
class SafetensorsFile {
 public:
  // Errors (kNotFound, kInvalidArgument, kCorrupt, kUnsupported) name file, tensor and bound.
  static Result<SafetensorsFile> open(const std::filesystem::path& path);
  // The same for bytes in memory, which must outlive the result; `name` stands in messages.
  static Result<SafetensorsFile> parse(std::span<const std::byte> bytes, std::string name);

  const std::string& name() const { return name_; }
  // What open() mapped; empty for parse().
  const MappedFile& mapped_file() const { return file_; }
  // By their place in the buffer.
  const std::vector<TensorView>& tensors() const { return tensors_; }
  // nullptr when there is none of that name.
  const TensorView* find_tensor(std::string_view name) const;
  const std::map<std::string, std::string>& metadata() const { return metadata_; }

 private:
  friend class SafetensorsParser;
  std::string name_;
  MappedFile file_;
  std::vector<TensorView> tensors_;
  std::unordered_map<std::string_view, std::size_t> index_;  // keys point into tensors_
  std::map<std::string, std::string> metadata_;
};

// All safetensors files of a folder in Hugging Face's layout: model.safetensors, or
// model.safetensors.index.json with the shards it names. A shard's name must be a plain file name;
// symbolic links are followed, since Hugging Face's cache is made of them.
// Thread safety: constant after construction.
class SafetensorsSet {
 public:
  // Errors: as SafetensorsFile::open; kNotFound when the folder has no weights, kUnsupported when
  // it only has pickled ones; kCorrupt when index and shards disagree.
  static Result<SafetensorsSet> open(const std::filesystem::path& folder);

  const std::vector<SafetensorsFile>& files() const { return files_; }
  // The tensors of all files; a name occurs once.
  const std::vector<TensorView>& tensors() const { return tensors_; }

 private:
  std::vector<SafetensorsFile> files_;
  std::vector<TensorView> tensors_;
};

// ".bin", ".pt" and the like: files that Python's pickle reads.
bool is_pickle_extension(std::string_view extension);
// The error for one of them, naming the file and saying why.
Status pickle_refused(const std::filesystem::path& path);

// Writes the tensors in their order, padding the header so that the buffer starts at a multiple of
// eight. Errors: kInvalidArgument when the file cannot be written.
Status write_safetensors(const std::filesystem::path& path, std::span<const TensorView> tensors);

}  // namespace tutti::formats
