// Memory for weights, caches and scratch: zeroed, page-aligned, on big pages where the system has
// them.
#pragma once

#include <cstddef>
#include <span>

namespace tutti::device {

// Move-only. Zeroed when made; pages are taken from the system when first touched.
class LargeBuffer {
 public:
  LargeBuffer() = default;
  // A failing allocation throws std::bad_alloc.
  explicit LargeBuffer(std::size_t num_bytes);
  LargeBuffer(LargeBuffer&& other) noexcept;
  LargeBuffer& operator=(LargeBuffer&& other) noexcept;
  ~LargeBuffer();

  std::byte* data() const { return data_; }
  std::size_t size() const { return size_; }
  template <typename T>
  T* as() const {
    return reinterpret_cast<T*>(data_);
  }

 private:
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

// Gives back the resident pages of a read-only mapping of a file that lie wholly inside `bytes`;
// they are read again from the file when touched. Memory of any other kind is left alone.
void release_file_pages(std::span<const std::byte> bytes);

}  // namespace tutti::device
