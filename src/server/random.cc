#include "server/random.h"

#include <sys/random.h>

#include "base/clock.h"

namespace tutti::server {

std::uint64_t random_bits() {
  std::uint64_t bits = 0;
  if (getrandom(&bits, sizeof(bits), 0) != static_cast<ssize_t>(sizeof(bits))) {
    bits = static_cast<std::uint64_t>(SteadyClock::now().time_since_epoch().count());
  }
  return bits;
}

}  // namespace tutti::server
