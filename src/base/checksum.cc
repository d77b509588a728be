#include "base/checksum.h"

#include <bit>
#include <cstring>

namespace tutti {

std::uint64_t checksum_of(std::span<const std::byte> bytes) {
  constexpr std::uint64_t kMultiplier = 0x9e3779b97f4a7c15u;
  std::uint64_t lanes[4] = {1, 2, 3, 4};
  std::size_t i = 0;
  for (; i + 32 <= bytes.size(); i += 32) {
    std::uint64_t words[4];
    std::memcpy(words, bytes.data() + i, sizeof(words));
    for (int lane = 0; lane < 4; ++lane) {
      lanes[lane] = std::rotl((lanes[lane] ^ words[lane]) * kMultiplier, 29);
    }
  }
  std::uint64_t sum = bytes.size();
  for (const std::uint64_t lane : lanes) sum = std::rotl((sum ^ lane) * kMultiplier, 29);
  for (; i < bytes.size(); ++i) {
    sum = std::rotl((sum ^ std::to_integer<std::uint64_t>(bytes[i])) * kMultiplier, 29);
  }
  return sum;
}

}  // namespace tutti
