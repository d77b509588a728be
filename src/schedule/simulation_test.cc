// The scheduler on a simulated clock: steps take what a hidden cost function says, and the cost
// model has to learn it. DESIGN.md, section 5: prompts stall nobody, tenants are served fairly, and
// a crowded pool does not thrash.
#include <fmt/format.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>

#include "schedule/cost_model.h"
#include "schedule/plan.h"
#include "schedule/state.h"

namespace tutti::schedule {
namespace {

// A small model on a few cores.
constexpr StepCosts kMachine{
    .base = 0.015, .per_decode_row = 0.0004, .per_prefill_row = 0.0005, .per_position = 4e-9};

class Simulation {
 public:
  struct Options {
    int num_blocks = 1 << 14;
    int max_running = 256;
    bool use_prefix_cache = true;
    StepCosts machine = kMachine;
  };

  explicit Simulation(const Options& options)
      : options_(options),
        state_({.num_blocks = options.num_blocks, .use_prefix_cache = options.use_prefix_cache}) {}

  struct Job {
    std::string tenant;
    int num_prompt_tokens = 1;
    int num_new_tokens = 1;
    double weight = 1;
    int priority = 0;
    int max_new_tokens = 0;  // 0: num_new_tokens
  };
  struct Record {
    double submitted = 0;
    std::vector<double> tokens;  // when each came
    double first_token_seconds() const { return tokens.front() - submitted; }
  };

  SequenceId submit(const Job& job, double now) {
    NewSequence added;
    added.id = SequenceId(++last_id_);
    added.num_prompt_tokens = job.num_prompt_tokens;
    for (int i = 0; i < job.num_prompt_tokens; ++i) {
      added.tokens.push_back(static_cast<TokenId>(last_id_ * 1000 + i % 997));
    }
    added.max_num_tokens = job.num_prompt_tokens + std::max(job.num_new_tokens, job.max_new_tokens);
    added.tenant = job.tenant;
    added.tenant_weight = job.weight;
    added.priority = job.priority;
    lengths_[added.id] = job.num_prompt_tokens + job.num_new_tokens;
    records_[added.id].submitted = now;
    const SequenceId id = added.id;
    state_.add(std::move(added));
    return id;
  }
  SequenceId submit(const Job& job) { return submit(job, now_); }

  void step() {
    const StepBudget budget{.num_rows = 512,
                            .max_running = options_.max_running,
                            .max_prefill_rows = cost_model_.max_prefill_rows(),
                            .costs = cost_model_.costs(),
                            .bounds_seconds = true};
    const StepPlan planned = plan(state_, budget, TimePoint{});
    ASSERT_FALSE(planned.rows.empty());
    const StepWork work = work_of(state_, planned);
    state_.apply(planned);
    last_step_seconds_ =
        options_.machine.seconds_of(work) * std::uniform_real_distribution(0.97, 1.03)(random_);
    now_ += last_step_seconds_;
    cost_model_.observe(work, last_step_seconds_);
    for (const PlannedRows& rows : planned.rows) {
      state_.advance(rows);
      if (!rows.samples) continue;
      state_.append_token(rows.id, static_cast<TokenId>(random_() % 1000));
      records_.at(rows.id).tokens.push_back(now_);
      if (state_.sequence(rows.id).num_tokens() < lengths_.at(rows.id)) continue;
      state_.learn_length(rows.id);
      state_.remove(rows.id);
    }
  }
  void run_until_end(SequenceId id) {
    while (state_.contains(id) && !::testing::Test::HasFatalFailure()) step();
  }
  void run_all() {
    while (state_.num_open() > 0 && !::testing::Test::HasFatalFailure()) step();
  }

  const State& state() const { return state_; }
  const Record& record(SequenceId id) const { return records_.at(id); }
  double now() const { return now_; }
  double last_step_seconds() const { return last_step_seconds_; }
  // Gaps between the tokens of `ids` that came in [begin, end], sorted.
  std::vector<double> gaps(const std::vector<SequenceId>& ids, double begin, double end) const {
    std::vector<double> gaps;
    for (const SequenceId id : ids) {
      const std::vector<double>& tokens = record(id).tokens;
      for (std::size_t i = 1; i < tokens.size(); ++i) {
        if (tokens[i - 1] >= begin && tokens[i] <= end) gaps.push_back(tokens[i] - tokens[i - 1]);
      }
    }
    std::sort(gaps.begin(), gaps.end());
    return gaps;
  }

 private:
  const Options options_;
  State state_;
  CostModel cost_model_;
  std::mt19937 random_{1};
  double now_ = 0, last_step_seconds_ = 0;
  std::uint64_t last_id_ = 0;
  std::map<SequenceId, int> lengths_;
  std::map<SequenceId, Record> records_;
};

double percentile(const std::vector<double>& sorted, double share) {
  return sorted.at(static_cast<std::size_t>(share * static_cast<double>(sorted.size() - 1)));
}

// The same for machines whose steps of eight rows take 1, 4, 18 and 73 ms without prompts.
class StallTest : public ::testing::TestWithParam<double> {};

TEST_P(StallTest, ALongPromptDoesNotFreezeStreams) {
  StepCosts machine = kMachine;
  for (double* cost :
       {&machine.base, &machine.per_decode_row, &machine.per_prefill_row, &machine.per_position}) {
    *cost *= GetParam();
  }
  const Simulation::Job long_prompt{.tenant = "long", .num_prompt_tokens = 64 * 1024};
  Simulation alone({.machine = machine});
  const SequenceId solo = alone.submit(long_prompt);
  alone.run_until_end(solo);
  const double solo_seconds = alone.record(solo).first_token_seconds();

  Simulation crowd({.machine = machine});
  std::vector<SequenceId> streams;
  for (int i = 0; i < 8; ++i) {
    streams.push_back(crowd.submit({.num_prompt_tokens = 200, .num_new_tokens = 30000}));
  }
  for (int i = 0; i < 400; ++i) crowd.step();
  const double begin = crowd.now();
  const double before = percentile(crowd.gaps(streams, begin / 2, begin), 0.99);
  const SequenceId beside = crowd.submit(long_prompt);
  crowd.run_until_end(beside);
  const double after = percentile(crowd.gaps(streams, begin, crowd.now()), 0.99);
  const double beside_seconds = crowd.record(beside).first_token_seconds();
  fmt::print("p99 gap {:.1f} ms, beside a prompt {:.1f} ms; the prompt {:.1f} s, alone {:.1f} s\n",
             1000 * before, 1000 * after, beside_seconds, solo_seconds);
  EXPECT_LE(after, 3 * before);
  EXPECT_GE(solo_seconds, 0.5 * beside_seconds);
}

INSTANTIATE_TEST_SUITE_P(Machines, StallTest, ::testing::Values(0.055, 0.2, 1.0, 4.0));

// A new arrival with a short prompt has its first token soon, though a prompt of its own tenant
// that takes minutes came before it.
TEST(Simulation, AShortPromptPassesALongOne) {
  Simulation simulation({});
  simulation.submit({.num_prompt_tokens = 64 * 1024});
  for (int i = 0; i < 20; ++i) simulation.step();
  const SequenceId short_one = simulation.submit({.num_prompt_tokens = 100, .num_new_tokens = 20});
  simulation.run_until_end(short_one);
  EXPECT_LT(simulation.record(short_one).first_token_seconds(), 0.5);
}

// However slow the machine, and whether anybody decodes or not, a step is over soon, so that a
// cancellation takes effect.
TEST(Simulation, StepsAreShortEnoughToBeCancelled) {
  StepCosts slow = kMachine;
  slow.base = 0.05;
  slow.per_prefill_row = 0.005;  // 512 rows: 2.6 s
  for (const int num_streams : {0, 1, 16}) {
    Simulation simulation({.machine = slow});
    for (int i = 0; i < num_streams; ++i) {
      simulation.submit({.num_prompt_tokens = 10, .num_new_tokens = 2000});
    }
    for (int i = 0; i < 100 && num_streams > 0; ++i) simulation.step();
    simulation.submit({.num_prompt_tokens = 20000});
    for (int i = 0; i < 200; ++i) {
      simulation.step();
      EXPECT_LT(simulation.last_step_seconds(), 0.25) << num_streams << " streams, step " << i;
    }
  }
}

TEST(Simulation, OneRequestBesideTwoHundredOfAnother) {
  const Simulation::Job job{.tenant = "b", .num_prompt_tokens = 512, .num_new_tokens = 64};
  // The machine's costs are known from a while before.
  const auto warm_up = [](Simulation& simulation) {
    for (int i = 0; i < 20; ++i) {
      simulation.submit({.tenant = "w", .num_prompt_tokens = 600, .num_new_tokens = 20});
    }
    simulation.run_all();
  };
  Simulation alone({});
  warm_up(alone);
  const SequenceId solo = alone.submit(job);
  alone.run_until_end(solo);

  for (const int max_running : {256, 32}) {
    for (const int num_blocks : {1 << 14, 600}) {
      Simulation crowd({.num_blocks = num_blocks, .max_running = max_running});
      warm_up(crowd);
      for (int i = 0; i < 200; ++i) {
        crowd.submit({.tenant = "a", .num_prompt_tokens = 512, .num_new_tokens = 400});
      }
      for (int i = 0; i < 300; ++i) crowd.step();
      const SequenceId one = crowd.submit(job);
      crowd.step();
      const double step_seconds = crowd.last_step_seconds();
      crowd.run_until_end(one);
      const double found = crowd.record(one).first_token_seconds();
      const double wanted = 2 * alone.record(solo).first_token_seconds() + step_seconds;
      fmt::print("{} running, {} blocks: first token after {:.0f} ms (bar {:.0f} ms)\n",
                 max_running, num_blocks, 1000 * found, 1000 * wanted);
      EXPECT_LE(found, wanted) << max_running << " running, " << num_blocks << " blocks";
    }
  }
}

TEST(Simulation, TenantsAreServedByTheirWeights) {
  Simulation simulation({.max_running = 16});
  std::map<std::string, std::vector<SequenceId>> ids;
  for (int i = 0; i < 400; ++i) {
    ids["a"].push_back(simulation.submit(
        {.tenant = "a", .num_prompt_tokens = 100, .num_new_tokens = 50, .weight = 3}));
    ids["b"].push_back(
        simulation.submit({.tenant = "b", .num_prompt_tokens = 100, .num_new_tokens = 50}));
  }
  while (simulation.state().num_open() > 450 && !HasFatalFailure()) simulation.step();
  const auto num_ended = [&](const std::string& tenant) {
    return std::count_if(ids[tenant].begin(), ids[tenant].end(),
                         [&](SequenceId id) { return !simulation.state().contains(id); });
  };
  EXPECT_NEAR(static_cast<double>(num_ended("a")) / static_cast<double>(num_ended("b")), 3, 0.4);
}

TEST(Simulation, SmallerPrioritiesComeFirstAndTheOthersStillEnd) {
  Simulation simulation({.max_running = 8});
  std::vector<SequenceId> low;
  for (int i = 0; i < 16; ++i) {
    low.push_back(
        simulation.submit({.num_prompt_tokens = 64, .num_new_tokens = 30, .priority = 5}));
  }
  for (int i = 0; i < 5; ++i) simulation.step();
  // More of the first priority than the machine can do, for ever.
  std::vector<SequenceId> high;
  int num_steps = 0;
  while (std::any_of(low.begin(), low.end(),
                     [&](SequenceId id) { return simulation.state().contains(id); })) {
    if (simulation.state().num_open() < 40) {
      high.push_back(
          simulation.submit({.num_prompt_tokens = 64, .num_new_tokens = 30, .priority = -1}));
    }
    simulation.step();
    ASSERT_LT(++num_steps, 2000) << "the others starve";
  }
  EXPECT_LT(simulation.record(high.front()).first_token_seconds(), 0.2);
}

// A pool for two with fifty in the queue.
TEST(Simulation, ACrowdedPoolDoesNotThrash) {
  for (const bool use_prefix_cache : {true, false}) {
    for (const int shortest : {400, 40}) {
      constexpr int kPrompt = 100, kNew = 400;
      Simulation simulation({.num_blocks = 2 * cache::num_blocks_for(kPrompt + kNew),
                             .use_prefix_cache = use_prefix_cache});
      std::mt19937 random(4);
      for (int i = 0; i < 50; ++i) {
        const int length = std::uniform_int_distribution(shortest, kNew)(random);
        simulation.submit({.tenant = i % 2 ? "a" : "b",
                           .num_prompt_tokens = kPrompt,
                           .num_new_tokens = length,
                           .max_new_tokens = kNew});
      }
      std::uint64_t num_useful = 0;
      simulation.run_all();
      for (int i = 1; i <= 50; ++i) {
        const auto& tokens = simulation.record(SequenceId(i)).tokens;
        EXPECT_GE(tokens.size(), static_cast<std::size_t>(shortest));
        num_useful += kPrompt + tokens.size();
      }
      const Counters& counters = simulation.state().counters();
      const double share =
          static_cast<double>(counters.num_recomputed_tokens) / static_cast<double>(num_useful);
      fmt::print("answers of {} to {}: {} preemptions, {:.1f} % computed again\n", shortest, kNew,
                 counters.num_preemptions, 100 * share);
      EXPECT_LE(share, 0.3);
    }
  }
}

// Twenty turns, each of which sends back all that was said before.
TEST(Simulation, AConversationIsNotComputedAgain) {
  State state({.num_blocks = 512});
  std::vector<TokenId> said;
  std::mt19937 random(5);
  const StepBudget budget{.num_rows = 256, .max_running = 8};
  for (int turn = 0; turn < 20; ++turn) {
    const int num_known = static_cast<int>(said.size());
    for (int i = std::uniform_int_distribution(1, 200)(random); i > 0; --i) {
      said.push_back(static_cast<TokenId>(random() % 1000));
    }
    NewSequence added;
    added.id = SequenceId(turn);
    added.tokens = said;
    added.num_prompt_tokens = static_cast<int>(said.size());
    added.max_num_tokens = added.num_prompt_tokens + 100;
    const auto before = state.counters().num_prompt_tokens;
    state.add(std::move(added));
    for (int i = 0; i < 100;) {
      const StepPlan planned = plan(state, budget, TimePoint{});
      state.apply(planned);
      state.advance(planned.rows.at(0));
      if (!planned.rows[0].samples) continue;
      state.append_token(SequenceId(turn), static_cast<TokenId>(random() % 1000));
      ++i;
    }
    said = state.sequence(SequenceId(turn)).tokens;
    const int num_new = state.sequence(SequenceId(turn)).num_prompt_tokens - num_known;
    EXPECT_LE(state.counters().num_prompt_tokens - before,
              static_cast<std::uint64_t>(num_new + kBlockSize))
        << "turn " << turn;
    state.remove(SequenceId(turn));
  }
}

}  // namespace
}  // namespace tutti::schedule
