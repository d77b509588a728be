// Memory for tests of kernels.
#pragma once

#include <cstddef>
#include <cstring>
#include <memory>
#include <new>

namespace tutti::kernels {

struct AlignedDelete {
  void operator()(void* p) const { ::operator delete[](p, std::align_val_t{64}); }
};
template <typename T>
using Aligned = std::unique_ptr<T[], AlignedDelete>;

// Zeroed, aligned to 64 bytes, of exactly `count` values, so that sanitizers see what is beyond.
template <typename T>
Aligned<T> aligned(std::size_t count) {
  void* memory = ::operator new[](count * sizeof(T), std::align_val_t{64});
  std::memset(memory, 0, count * sizeof(T));
  return Aligned<T>(static_cast<T*>(memory));
}

}  // namespace tutti::kernels
