#include "schedule/plan.h"

#include <algorithm>

#include "base/check.h"
#include "schedule/planner.h"

namespace tutti::schedule {

double step_seconds_limit(std::optional<double> target_seconds, double floor_seconds) {
  // A step without decodes may be longer, but not so long that a cancellation waits for it.
  constexpr double kWithoutDecodes = 0.18;
  constexpr double kCancellable = 0.2;
  constexpr double kDefaultTarget = 0.1, kDefaultStretch = 2.7;
  // What a step takes beside what is measured of it, its events and their way to the front, is some
  // 0.1 ms: in a shorter step prompts would not get half of the time.
  constexpr double kLeastTarget = 0.001;
  if (floor_seconds <= 0) return std::max(target_seconds.value_or(0), kWithoutDecodes);
  const double doubled = std::max(1.5 * floor_seconds, std::min(2 * floor_seconds, kCancellable));
  return std::max(target_seconds.value_or(
                      std::clamp(kDefaultStretch * floor_seconds, kLeastTarget, kDefaultTarget)),
                  doubled);
}

double prompt_seconds_limit(const State& state, const StepBudget& budget) {
  if (!budget.bounds_seconds) return std::numeric_limits<double>::infinity();
  StepWork decodes;
  for (const SequenceId id : state.running()) {
    const Sequence& sequence = state.sequence(id);
    if (sequence.num_pending_tokens() != 1) continue;
    ++decodes.num_decode_rows;
    decodes.num_positions += sequence.num_tokens();
  }
  const double floor = decodes.num_decode_rows > 0 ? budget.costs.seconds_of(decodes) : 0;
  return step_seconds_limit(budget.target_seconds, floor) - (floor > 0 ? floor : budget.costs.base);
}

StepPlan plan(const State& state, const StepBudget& budget, TimePoint now) {
  TUTTI_CHECK(budget.num_rows >= 1 && budget.max_running >= 1 && budget.max_prefill_rows >= 1);
  if (state.num_open() == 0) return {.planned_at = now};
  return Planner(state, budget, now).run();
}

StepWork work_of(const State& state, const StepPlan& plan) {
  std::unordered_map<SequenceId, int> cached_tokens;
  for (const Admission& each : plan.admitted) cached_tokens[each.id] = each.num_cached_tokens();
  StepWork work;
  for (const PlannedRows& rows : plan.rows) {
    const auto admitted = cached_tokens.find(rows.id);
    const double first = admitted != cached_tokens.end()
                             ? admitted->second
                             : state.sequence(rows.id).num_computed_tokens;
    (rows.num_rows == 1 ? work.num_decode_rows : work.num_prefill_rows) += rows.num_rows;
    work.num_positions += rows.num_rows * (first + (rows.num_rows + 1) / 2.0);
  }
  return work;
}

}  // namespace tutti::schedule
