// What one step will do, as a value: plan() makes it, State::apply() carries it out.
#pragma once

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

struct StepPlan {
  TimePoint planned_at;
  std::vector<SequenceId> preempted;  // newest first; they lose their blocks and wait again
  std::vector<SequenceId> admitted;   // oldest first
  std::vector<PlannedRows> rows;      // oldest first, each sequence once

  friend bool operator==(const StepPlan&, const StepPlan&) = default;
};

}  // namespace tutti::schedule
