#include "server/sequence_id.h"

#include <atomic>

namespace tutti::server {

SequenceId next_sequence_id() {
  static std::atomic<std::uint64_t> last{0};
  return SequenceId(last.fetch_add(1, std::memory_order_relaxed) + 1);
}

}  // namespace tutti::server
