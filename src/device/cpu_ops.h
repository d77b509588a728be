// The bf16 class on a processor, by the kernels of one instruction set.
#pragma once

#include <memory>

#include "device/ops.h"

namespace tutti::device {

std::unique_ptr<Ops> make_cpu_ops(const Ops::Options& options);

}  // namespace tutti::device
