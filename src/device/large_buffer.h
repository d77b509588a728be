// Memory for weights, caches and scratch: zeroed, page-aligned, on big pages where the system has
// them. On a machine with several NUMA nodes the pages of buffers from 2 MiB on take turns on them:
// panels are handed to whichever worker is free, so no page is near its reader, and all nodes'
// bandwidth is used.
#pragma once

#include <bitset>
#include <cstddef>
#include <memory>
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
  friend class BufferArena;
  class Mapping;
  std::shared_ptr<Mapping> mapping_;
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

// Puts buffers close together, so that the end of one and the beginning of the next share a big
// page: with big pages of its own for each matrix a 1.1B model in four bits takes a third more.
// Thread safety: one thread at a time; the buffers are independent of each other and of the arena.
class BufferArena {
 public:
  static constexpr std::size_t kAlignment = 64;

  // As LargeBuffer(num_bytes), aligned and rounded up to kAlignment.
  LargeBuffer take(std::size_t num_bytes);

 private:
  // Address space; memory is taken by what is touched.
  static constexpr std::size_t kChunkBytes = std::size_t{256} << 20;

  LargeBuffer chunk_;
  std::size_t used_ = 0;
};

// NUMA nodes; Linux knows at most so many (CONFIG_NODES_SHIFT).
using MemoryNodes = std::bitset<1024>;

// Those that this process may take memory from; none where the system does not say.
MemoryNodes usable_memory_nodes();

// Lets untouched pages of `memory` (page-aligned) take turns on `nodes`. False where the system
// refuses; nothing is changed then.
bool interleave_pages(std::span<std::byte> memory, const MemoryNodes& nodes);

// Gives back the resident pages of a read-only mapping of a file that lie wholly inside `bytes`;
// they are read again from the file when touched. Memory of any other kind is left alone.
void release_file_pages(std::span<const std::byte> bytes);

}  // namespace tutti::device
