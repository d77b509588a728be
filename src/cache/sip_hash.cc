#include "cache/sip_hash.h"

#include <bit>
#include <cstring>
#include <random>

namespace tutti::cache {
namespace {

struct SipState {
  std::uint64_t v0, v1, v2, v3;

  void round() {
    v0 += v1;
    v1 = std::rotl(v1, 13) ^ v0;
    v0 = std::rotl(v0, 32);
    v2 += v3;
    v3 = std::rotl(v3, 16) ^ v2;
    v0 += v3;
    v3 = std::rotl(v3, 21) ^ v0;
    v2 += v1;
    v1 = std::rotl(v1, 17) ^ v2;
    v2 = std::rotl(v2, 32);
  }
  void absorb(std::uint64_t word) {
    v3 ^= word;
    round();
    round();
    v0 ^= word;
  }
  std::uint64_t finish() {
    for (int i = 0; i < 4; ++i) round();
    return v0 ^ v1 ^ v2 ^ v3;
  }
};

}  // namespace

HashKey HashKey::random() {
  std::random_device device;
  const auto word = [&device] {
    return std::uint64_t{device()} << 32 | static_cast<std::uint32_t>(device());
  };
  return {word(), word()};
}

Hash128 sip_hash(const HashKey& key, std::span<const std::byte> bytes) {
  SipState state{.v0 = key.low ^ 0x736f6d6570736575,
                 .v1 = key.high ^ 0x646f72616e646f6d ^ 0xee,
                 .v2 = key.low ^ 0x6c7967656e657261,
                 .v3 = key.high ^ 0x7465646279746573};
  std::size_t offset = 0;
  for (; offset + 8 <= bytes.size(); offset += 8) {
    std::uint64_t word;
    std::memcpy(&word, bytes.data() + offset, 8);
    state.absorb(word);
  }
  std::uint64_t last = static_cast<std::uint64_t>(bytes.size()) << 56;
  for (std::size_t i = 0; offset + i < bytes.size(); ++i) {
    last |= std::to_integer<std::uint64_t>(bytes[offset + i]) << (8 * i);
  }
  state.absorb(last);
  state.v2 ^= 0xee;
  Hash128 hash;
  hash.low = state.finish();
  state.v1 ^= 0xdd;
  hash.high = state.finish();
  return hash;
}

}  // namespace tutti::cache
