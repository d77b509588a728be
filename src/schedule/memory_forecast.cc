#include "schedule/memory_forecast.h"

#include <algorithm>
#include <cstdint>

#include "base/check.h"
#include "cache/block_table.h"

namespace tutti::schedule {
namespace {

// Up to so many members each one's last block is rounded up by itself; beyond, half a block stands
// for it, so that the work grows with the members and not with their square.
constexpr std::size_t kMaxExact = 48;

bool ends_later(const MemoryForecast::Member& a, const MemoryForecast::Member& b) {
  return a.num_to_come > b.num_to_come;
}

}  // namespace

void MemoryForecast::add(const Member& member) {
  members_.insert(std::upper_bound(members_.begin(), members_.end(), member, ends_later), member);
}

void MemoryForecast::remove(const Member& member) {
  const auto found = std::find(members_.begin(), members_.end(), member);
  TUTTI_CHECK(found != members_.end()) << "not a member";
  members_.erase(found);
}

int MemoryForecast::peak_blocks() const {
  const bool is_exact = members_.size() <= kMaxExact;
  std::int64_t peak = 0, num_tokens = 0;
  for (std::size_t last = 0; last < members_.size(); ++last) {
    // When this one gets its last token, those before it are there too, and no others.
    const int num_steps = members_[last].num_to_come - 1;
    std::int64_t num_blocks = 0;
    if (is_exact) {
      for (std::size_t i = 0; i <= last; ++i) {
        num_blocks += cache::num_blocks_for(members_[i].num_own_tokens + num_steps);
      }
    } else {
      const auto count = static_cast<std::int64_t>(last) + 1;
      num_tokens += members_[last].num_own_tokens;
      num_blocks = (num_tokens + count * num_steps) / kBlockSize + count / 2;
    }
    peak = std::max(peak, num_blocks);
  }
  return static_cast<int>(std::min<std::int64_t>(peak, 1 << 30));
}

}  // namespace tutti::schedule
