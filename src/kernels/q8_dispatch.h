// From a type of weights to the code that is compiled for it.
#pragma once

#include <type_traits>

#include "tensor/dtype.h"

namespace tutti::kernels {
namespace {

template <DType kType>
using TypeConstant = std::integral_constant<DType, kType>;

// select(TypeConstant<dtype>()) for a type that the q8 class takes. What it returns has one type
// for all, e.g. a pointer to a function.
template <typename Select>
[[gnu::always_inline]] inline auto for_q8_type(DType dtype, const Select& select) {
  switch (dtype) {
    case DType::kQ4_0:
      return select(TypeConstant<DType::kQ4_0>());
    case DType::kQ4_1:
      return select(TypeConstant<DType::kQ4_1>());
    case DType::kQ5_0:
      return select(TypeConstant<DType::kQ5_0>());
    case DType::kQ5_1:
      return select(TypeConstant<DType::kQ5_1>());
    case DType::kQ8_0:
      return select(TypeConstant<DType::kQ8_0>());
    case DType::kQ4_K:
      return select(TypeConstant<DType::kQ4_K>());
    case DType::kQ5_K:
      return select(TypeConstant<DType::kQ5_K>());
    default:
      return select(TypeConstant<DType::kQ6_K>());
  }
}

}  // namespace
}  // namespace tutti::kernels
