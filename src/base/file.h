// Files: memory-mapped, whole reads with a cap.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>

#include "base/result.h"

namespace tutti {

// A read-only mapping of a whole regular file. Move-only; unmapped when destroyed.
// Thread safety: constant after construction.
class MappedFile {
 public:
  // Errors: kNotFound when it does not exist, kInvalidArgument when it is not a regular file or
  // cannot be read or mapped. An empty file gives an empty span.
  static Result<MappedFile> open(const std::filesystem::path& path);

  MappedFile() = default;
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  const std::filesystem::path& path() const { return path_; }

  // Tells the kernel that [offset, offset + length) will not be read again soon, so that resident
  // memory shrinks; the bytes stay readable.
  void release_pages(std::size_t offset, std::size_t length) const;

 private:
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
  std::filesystem::path path_;
};

// The whole of a file as a string. Errors as MappedFile::open; kTooLarge over `max_bytes`.
Result<std::string> read_file(const std::filesystem::path& path, std::size_t max_bytes);

}  // namespace tutti
