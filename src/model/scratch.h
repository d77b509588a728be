// Memory of a forward pass, kept between steps.
#pragma once

#include <cstddef>
#include <memory>
#include <new>

namespace tutti::model {

// Floats on a cache line's boundary, not initialised. Grows and never shrinks.
class ScratchBuffer {
 public:
  // At least `count` floats; what was in it before is lost when it has to grow.
  float* at_least(std::size_t count) {
    if (count > capacity_) {
      data_.reset();  // before the new one is taken, so that both never are
      data_.reset(new (kAlignment) float[count]);
      capacity_ = count;
    }
    return data_.get();
  }

 private:
  static constexpr std::align_val_t kAlignment{64};
  struct Deleter {
    void operator()(float* data) const { ::operator delete[](data, kAlignment); }
  };
  std::unique_ptr<float[], Deleter> data_;
  std::size_t capacity_ = 0;
};

}  // namespace tutti::model
