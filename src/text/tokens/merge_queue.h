// The order in which neighbours of a long word merge: lowest rank first, leftmost of equal rank.
//
// A heap of ranks over a sorted list of positions for each rank. A word of ten million equal
// letters has a few dozen ranks, so that a merge costs a step along a list and not a walk down a
// heap of ten million entries.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <queue>
#include <unordered_map>
#include <vector>

namespace tutti::text {

struct MergeCandidate {
  std::uint32_t rank;
  std::uint32_t position;  // index of the left symbol
};

class MergeQueue {
 public:
  void push(MergeCandidate candidate) {
    Group& group = groups_[candidate.rank];
    if (candidate.rank == current_rank_) {
      group.urgent.push(candidate.position);
      return;
    }
    if (group.is_empty()) ranks_.push(candidate.rank);
    group.arrived.push_back(candidate.position);
  }

  // False when nothing is left.
  bool pop(MergeCandidate& candidate) {
    // A lower rank may have come while the current one was being worked on.
    while (current_ == nullptr || current_->is_empty() ||
           (!ranks_.empty() && ranks_.top() < current_rank_)) {
      if (!switch_to_lowest()) return false;
    }
    candidate = {current_rank_, current_->take()};
    return true;
  }

 private:
  static constexpr std::uint32_t kNoRank = std::numeric_limits<std::uint32_t>::max();
  using MinHeap =
      std::priority_queue<std::uint32_t, std::vector<std::uint32_t>, std::greater<std::uint32_t>>;

  struct Group {
    std::vector<std::uint32_t> sorted;  // from `next` on
    std::size_t next = 0;
    std::vector<std::uint32_t> arrived;  // while another rank was current
    MinHeap urgent;                      // while this rank was current

    bool is_empty() const { return next == sorted.size() && arrived.empty() && urgent.empty(); }

    void take_in_arrived() {
      if (arrived.empty()) return;
      if (next == sorted.size()) {
        sorted.swap(arrived);
        next = 0;
        if (!std::is_sorted(sorted.begin(), sorted.end())) std::sort(sorted.begin(), sorted.end());
      } else {
        for (const std::uint32_t position : arrived) urgent.push(position);
      }
      arrived.clear();
    }

    std::uint32_t take() {
      if (!urgent.empty() && (next == sorted.size() || urgent.top() < sorted[next])) {
        const std::uint32_t position = urgent.top();
        urgent.pop();
        return position;
      }
      return sorted[next++];
    }
  };

  bool switch_to_lowest() {
    if (current_ != nullptr) {
      if (current_->is_empty()) {
        groups_.erase(current_rank_);
      } else {
        ranks_.push(current_rank_);
      }
      current_ = nullptr;
      current_rank_ = kNoRank;
    }
    if (ranks_.empty()) return false;
    current_rank_ = ranks_.top();
    ranks_.pop();
    current_ = &groups_[current_rank_];
    current_->take_in_arrived();
    return true;
  }

  std::unordered_map<std::uint32_t, Group> groups_;  // references stay valid when it grows
  MinHeap ranks_;                                    // of groups that are not empty or current
  Group* current_ = nullptr;
  std::uint32_t current_rank_ = kNoRank;
};

}  // namespace tutti::text
