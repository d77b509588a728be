#include "device/large_buffer.h"

#include <linux/mempolicy.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <fstream>
#include <new>
#include <string>
#include <utility>

namespace tutti::device {
namespace {

constexpr std::size_t kPage = 4096;
constexpr std::size_t kBigPage = std::size_t{2} << 20;

// Whether [begin, end) lies in one mapping of a file that cannot be written through.
// Source of the format: proc(5), /proc/pid/maps.
bool is_read_only_file_mapping(std::uintptr_t begin, std::uintptr_t end) {
  std::ifstream maps("/proc/self/maps");
  std::string line;
  while (std::getline(maps, line)) {
    std::uint64_t first = 0, last = 0, inode = 0;
    char mode[5] = {};
    if (std::sscanf(line.c_str(), "%" SCNx64 "-%" SCNx64 " %4s %*x %*s %" SCNu64, &first, &last,
                    mode, &inode) != 4) {
      continue;
    }
    if (begin >= first && end <= last) return inode != 0 && mode[0] == 'r' && mode[1] == '-';
  }
  return false;
}

}  // namespace

class LargeBuffer::Mapping {
 public:
  explicit Mapping(std::size_t num_bytes) {
    const std::size_t unit = num_bytes >= kBigPage ? kBigPage : kPage;
    size_ = (num_bytes + unit - 1) / unit * unit;
    // Reserved with room to align, and the excess given back.
    const std::size_t reserved = size_ + unit - kPage;
    void* memory =
        mmap(nullptr, reserved, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    auto* start = static_cast<std::byte*>(memory);
    const std::size_t before = (unit - reinterpret_cast<std::uintptr_t>(start) % unit) % unit;
    data_ = start + before;
    if (before > 0) munmap(start, before);
    const std::size_t after = reserved - before - size_;
    if (after > 0) munmap(data_ + size_, after);
    if (unit != kBigPage) return;
    madvise(data_, size_, MADV_HUGEPAGE);
    static const MemoryNodes kNodes = usable_memory_nodes();
    if (kNodes.count() > 1) interleave_pages({data_, size_}, kNodes);
  }
  ~Mapping() { munmap(data_, size_); }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

  std::byte* data() const { return data_; }
  std::size_t size() const { return size_; }

 private:
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

LargeBuffer::LargeBuffer(std::size_t num_bytes) {
  if (num_bytes == 0) return;
  mapping_ = std::make_shared<Mapping>(num_bytes);
  data_ = mapping_->data();
  size_ = mapping_->size();
}

LargeBuffer BufferArena::take(std::size_t num_bytes) {
  const std::size_t size = (num_bytes + kAlignment - 1) / kAlignment * kAlignment;
  if (size > chunk_.size() - used_) {
    chunk_ = LargeBuffer(std::max(size, kChunkBytes));
    used_ = 0;
  }
  LargeBuffer buffer;
  buffer.mapping_ = chunk_.mapping_;
  buffer.data_ = chunk_.data() + used_;
  buffer.size_ = size;
  used_ += size;
  return buffer;
}

// The C library has no function for these two calls: get_mempolicy(2), mbind(2). The kernel wants
// the number of bits and one more.
MemoryNodes usable_memory_nodes() {
  MemoryNodes nodes;
  static_assert(sizeof(nodes) * 8 == nodes.size());
  if (syscall(SYS_get_mempolicy, nullptr, &nodes, nodes.size() + 1, nullptr, MPOL_F_MEMS_ALLOWED) !=
      0) {
    nodes.reset();
  }
  return nodes;
}

bool interleave_pages(std::span<std::byte> memory, const MemoryNodes& nodes) {
  return syscall(SYS_mbind, memory.data(), memory.size(), MPOL_INTERLEAVE, &nodes, nodes.size() + 1,
                 0) == 0;
}

LargeBuffer::LargeBuffer(LargeBuffer&& other) noexcept
    : mapping_(std::move(other.mapping_)),
      data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)) {}

LargeBuffer& LargeBuffer::operator=(LargeBuffer&& other) noexcept {
  std::swap(mapping_, other.mapping_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

LargeBuffer::~LargeBuffer() = default;

void release_file_pages(std::span<const std::byte> bytes) {
  const auto address = reinterpret_cast<std::uintptr_t>(bytes.data());
  const std::uintptr_t begin = (address + kPage - 1) / kPage * kPage;
  const std::uintptr_t end = (address + bytes.size()) / kPage * kPage;
  if (begin >= end || !is_read_only_file_mapping(begin, end)) return;
  madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

}  // namespace tutti::device
