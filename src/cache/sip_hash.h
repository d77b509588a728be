// SipHash-2-4 with a result of 128 bits: a keyed hash that cannot be steered without the key.
// Source: Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012, and its reference code's
// 128-bit variant.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>

namespace tutti::cache {

struct Hash128 {
  std::uint64_t low = 0, high = 0;
  friend bool operator==(const Hash128&, const Hash128&) = default;
};

struct HashKey {
  std::uint64_t low = 0, high = 0;

  // From the system's random device.
  static HashKey random();
};

Hash128 sip_hash(const HashKey& key, std::span<const std::byte> bytes);

}  // namespace tutti::cache

template <>
struct std::hash<tutti::cache::Hash128> {
  std::size_t operator()(const tutti::cache::Hash128& hash) const noexcept { return hash.low; }
};
