// What the scheduler itself takes a step: 256 sequences that decode in a pool of 65,536 blocks,
// with prompts being computed beside them and a queue behind. Bar: 200 microseconds.
//
//   scheduler_speed [STEPS]
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <random>
#include <vector>

#include "base/clock.h"
#include "schedule/plan.h"
#include "schedule/state.h"

namespace {

using namespace tutti;            // NOLINT: a program of one file
using namespace tutti::schedule;  // NOLINT

NewSequence random_sequence(std::uint64_t id, int num_prompt_tokens, std::mt19937& random) {
  NewSequence added;
  added.id = SequenceId(id);
  added.num_prompt_tokens = num_prompt_tokens;
  for (int i = 0; i < num_prompt_tokens; ++i) {
    added.tokens.push_back(static_cast<TokenId>(random() % 32000));
  }
  added.max_num_tokens = num_prompt_tokens + 1024;
  added.tenant = std::to_string(id % 16);
  return added;
}

// Seconds of the scheduler in one step; forward pass and sampling take none.
double step(State& state, const StepBudget& budget) {
  const TimePoint begin = SteadyClock::now();
  const StepPlan planned = plan(state, budget, begin);
  state.apply(planned);
  for (const PlannedRows& rows : planned.rows) {
    state.advance(rows);
    if (rows.samples) state.append_token(rows.id, 1);
  }
  return to_seconds(SteadyClock::now() - begin);
}

void measure(const char* what, State& state, const StepBudget& budget, int num_steps) {
  std::vector<double> seconds;
  for (int i = 0; i < num_steps; ++i) seconds.push_back(step(state, budget));
  std::sort(seconds.begin(), seconds.end());
  fmt::print(
      "{}: median {:.0f} us, 99 of 100 steps {:.0f} us ({} running, {} waiting, {} of {} blocks)\n",
      what, 1e6 * seconds[seconds.size() / 2], 1e6 * seconds[seconds.size() * 99 / 100],
      state.running().size(), state.num_waiting(), state.pool().num_used(),
      state.pool().num_blocks());
}

}  // namespace

int main(int argc, char** argv) {
  const int num_steps = argc > 1 ? std::max(1, std::atoi(argv[1])) : 500;
  std::mt19937 random(1);
  State state({.num_blocks = 65536, .hash_key = {1, 2}});
  StepBudget budget{.num_rows = 8192, .max_running = 256};
  for (std::uint64_t id = 0; id < 256; ++id)
    state.add(random_sequence(id, 5500 + static_cast<int>(random() % 1000), random));
  while (state.num_waiting() > 0) step(state, budget);
  for (int i = 0; i < 200; ++i) step(state, budget);
  measure("256 decodes", state, budget, num_steps);

  for (std::uint64_t id = 256; id < 768; ++id) state.add(random_sequence(id, 1000, random));
  measure("and a queue of 512 behind a full batch", state, budget, num_steps);

  budget = {.num_rows = 512,
            .max_running = 512,
            .costs = {.base = 0.02,
                      .per_decode_row = 0.0002,
                      .per_prefill_row = 0.0005,
                      .per_position = 1e-9},
            .bounds_seconds = true};
  measure("and prompts computed beside them", state, budget, std::min(num_steps, 200));
}
