// Whether the blocks last: how many a batch will need at its peak, given how long its sequences are
// expected to become. Those that end soon give back what the others then grow into.
//
// Thread safety: a value.
#pragma once

#include <vector>

namespace tutti::schedule {

class MemoryForecast {
 public:
  struct Member {
    int num_own_tokens = 0;  // that it has now, without those in blocks it got from the cache
    int num_to_come = 0;     // tokens that it will yet get, >= 1; one a step
    friend bool operator==(const Member&, const Member&) = default;
  };

  void add(const Member& member);
  void remove(const Member& member);  // one that was added

  // The most blocks that the members hold at once, each of them until its end: when one gets its
  // t-th further token, it holds num_own_tokens + t - 1 positions.
  int peak_blocks() const;

 private:
  std::vector<Member> members_;  // the most to come first
};

}  // namespace tutti::schedule
