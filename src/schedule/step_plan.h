// What one step will do, as a value: plan() makes it, State::apply() carries it out.
#pragma once

#include <optional>
#include <vector>

#include "base/clock.h"
#include "core/ids.h"

namespace tutti::schedule {

// Consecutive positions of one sequence, from its computed length on.
struct PlannedRows {
  SequenceId id;
  int num_rows = 0;        // >= 1
  int num_new_blocks = 0;  // to take before
  // The last row is the sequence's last token, so the next token can be sampled from it.
  bool samples = false;

  friend bool operator==(const PlannedRows&, const PlannedRows&) = default;
};

// A sequence that begins to run, with the blocks of the prefix cache that hold its first positions.
struct Admission {
  SequenceId id;
  std::vector<BlockId> cached_blocks{};
  // A block whose first num_partial positions are the next ones; they are copied.
  std::optional<BlockId> partial_block{};
  int num_partial = 0;

  int num_cached_tokens() const {
    return static_cast<int>(cached_blocks.size()) * kBlockSize + num_partial;
  }
  friend bool operator==(const Admission&, const Admission&) = default;
};

struct StepPlan {
  TimePoint planned_at;
  std::vector<SequenceId> preempted;  // they lose their blocks and wait again
  std::vector<Admission> admitted;
  std::vector<PlannedRows> rows;  // oldest sequence first, each once

  friend bool operator==(const StepPlan&, const StepPlan&) = default;
};

// The first num_positions positions of a block, to be copied into another before the forward pass,
// for the sequence that has it.
struct BlockCopy {
  BlockId from, to;
  int num_positions = 0;
  SequenceId id;

  friend bool operator==(const BlockCopy&, const BlockCopy&) = default;
};

}  // namespace tutti::schedule
