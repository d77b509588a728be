// Random bits from the kernel, for seeds and ids.
#pragma once

#include <cstdint>

namespace tutti::server {

std::uint64_t random_bits();

}  // namespace tutti::server
