// The f32 class: weights as float32, keys and values float32, sums in double, functions of the C
// library. Slow and plain: it is what the other classes' error is measured against.
#pragma once

#include <memory>

#include "device/ops.h"

namespace tutti::device {

std::unique_ptr<Ops> make_reference_ops(const Ops::Options& options);

}  // namespace tutti::device
