// Ids that are easily mixed up, as types of their own.
#pragma once

#include <compare>
#include <cstdint>
#include <functional>

namespace tutti {

// A number that no other id's can stand for. NOLINT: clang-tidy takes a 0 within <=> for ours.
template <typename Tag, typename Rep>
struct StrongId {
  Rep value{};

  constexpr StrongId() = default;
  constexpr explicit StrongId(Rep v) : value(v) {}
  friend constexpr auto operator<=>(const StrongId&, const StrongId&) = default;  // NOLINT
};

using RequestId = StrongId<struct RequestIdTag, std::uint64_t>;    // one client request
using SequenceId = StrongId<struct SequenceIdTag, std::uint64_t>;  // one stream of tokens
using BlockId = StrongId<struct BlockIdTag, std::int32_t>;         // a page of the KV cache
using SlotId = StrongId<struct SlotIdTag, std::int64_t>;           // block * kBlockSize + offset

// An index into a vocabulary. A plain integer: it is arithmetic data that crosses every layer.
using TokenId = std::int32_t;
// The index of a token in its sequence, from 0.
using Position = std::int32_t;

// Positions in a block of the KV cache.
inline constexpr int kBlockSize = 32;

}  // namespace tutti

template <typename Tag, typename Rep>
struct std::hash<tutti::StrongId<Tag, Rep>> {
  std::size_t operator()(const tutti::StrongId<Tag, Rep>& id) const noexcept {
    return std::hash<Rep>{}(id.value);
  }
};
