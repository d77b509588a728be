#include "engine/step_loop.h"

#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <utility>

#include "base/check.h"
#include "base/log.h"
#include "base/thread_pool.h"
#include "model/description.h"

namespace tutti::engine {

using schedule::PlannedRows;

namespace {

// Bringing blocks back from the second tier takes so much of a step: a cancellation does not wait
// for longer, and where prompts have hardly any time it gets on all the same.
constexpr double kMaxRestoringSeconds = 0.1, kMinRestoringSeconds = 0.002;

// What a step waits, as a share of it, for buffers in which full blocks are saved.
constexpr double kSavingShare = 0.05;

Duration from_seconds(double seconds) {
  return std::chrono::duration_cast<Duration>(std::chrono::duration<double>(seconds));
}

}  // namespace

void EndedSequence::send() && {
  if (auto* finished = std::get_if<FinishedEvent>(&event)) {
    sink.finish(*finished);
  } else {
    sink.fail(std::move(std::get<FailedEvent>(event)));
  }
}

bool StepLoop::OpenSequence::ends_with(TokenId token) const {
  const auto holds = [token](const std::vector<TokenId>& tokens) {
    return std::find(tokens.begin(), tokens.end(), token) != tokens.end();
  };
  return holds(request.end_tokens) || holds(request.sampling.stop_token_ids);
}

StepLoop::StepLoop(model::Model& model, device::Ops& ops, std::unique_ptr<device::KvCache> cache,
                   const EngineOptions& options, StepObserver* observer)
    : model_(model),
      ops_(ops),
      cache_(std::move(cache)),
      options_(options),
      vocab_size_(model.description().vocab_size),
      observer_(observer),
      spill_(SpillTier::open(options, ops, *cache_, ops.kv_block_bytes(model.kv_shape()))),
      state_({.num_blocks = options.num_blocks,
              .use_prefix_cache = options.use_prefix_cache,
              .hash_key = spill_ ? spill_->hash_key() : cache::HashKey::random(),
              .reports_blocks = spill_ != nullptr}),
      scratches_(ops.pool().num_threads()) {}

void StepLoop::open(Submission submission) {
  SequenceRequest& request = submission.request;
  const SequenceId id = request.id;
  schedule::NewSequence added{.id = id,
                              .tokens = std::exchange(request.prompt, {}),
                              .tenant = request.tenant,
                              .tenant_weight = request.tenant_weight,
                              .cache_salt = request.cache_salt,
                              .priority = request.priority,
                              .submitted_at = submission.submitted_at};
  added.num_prompt_tokens = static_cast<int>(added.tokens.size());
  const int room = options_.max_model_len - added.num_prompt_tokens;
  added.max_num_tokens = added.num_prompt_tokens + std::clamp(request.sampling.max_tokens, 0, room);
  const std::vector<TokenId> generated = std::exchange(request.generated, {});
  added.tokens.insert(added.tokens.end(), generated.begin(), generated.end());
  if (request.sampling.ignore_eos) request.end_tokens.clear();
  if (request.deadline) deadlines_.emplace(*request.deadline, id);
  state_.add(std::move(added));
  open_.emplace(id, OpenSequence{.request = std::move(request),
                                 .sink = std::move(submission.sink),
                                 .submitted_at = submission.submitted_at});
  if (has_all_tokens(id)) return finish(id, FinishReason::kLength);
  const OpenSequence& sequence = open_.at(id);
  if (!sequence.request.deadline || !generated.empty()) return;
  const double seconds_left = to_seconds(*sequence.request.deadline - SteadyClock::now());
  const double seconds_needed = estimated_first_token_seconds(id);
  if (seconds_needed <= seconds_left) return;
  fail(id, Status(ErrorKind::kDeadlineExceeded,
                  fmt::format("the first token is about {:.1f} s away and the deadline {:.1f} s",
                              seconds_needed, std::max(0.0, seconds_left))));
}

bool StepLoop::has_all_tokens(SequenceId id) const {
  const schedule::Sequence& sequence = state_.sequence(id);
  return sequence.num_tokens() >= sequence.max_num_tokens;
}

double StepLoop::estimated_first_token_seconds(SequenceId id) const {
  const schedule::Sequence& sequence = state_.sequence(id);
  int num_cached = state_.cached_prefix(sequence).num_tokens();
  if (spill_) {
    num_cached += kBlockSize * spill_->num_restorable(state_, sequence, cost_model_.costs());
  }
  // Its own tenant's sequences come first; for those of others it need not wait.
  int num_rows = sequence.num_prompt_tokens - std::min(num_cached, sequence.num_prompt_tokens);
  int num_waiting_before = 0;
  for (const auto& [other, open] : open_) {
    const schedule::Sequence& before = state_.sequence(other);
    if (other == id || before.tenant != sequence.tenant || before.priority > sequence.priority) {
      continue;
    }
    num_rows += before.num_new_prompt_tokens();
    if (!before.first_run_at) ++num_waiting_before;
  }
  double seconds = cost_model_.costs().per_prefill_row * num_rows;
  const bool is_full = static_cast<int>(state_.running().size()) >= options_.max_running;
  const double ended_per_second = drain_rate_.per_second(SteadyClock::now());
  if (is_full && ended_per_second > 0) seconds += num_waiting_before / ended_per_second;
  return seconds;
}

void StepLoop::cancel(SequenceId id) {
  if (open_.contains(id)) fail(id, Status(ErrorKind::kCancelled, "cancelled"));
}

void StepLoop::cancel_all() {
  while (!open_.empty()) {
    fail(open_.begin()->first, Status(ErrorKind::kCancelled, "the engine is stopping"));
  }
}

void StepLoop::step() {
  const TimePoint begin = SteadyClock::now();
  expire(begin);
  const auto [plan, restoring_seconds] = make_plan(begin);
  if (plan.rows.empty()) return;
  const schedule::StepWork work = schedule::work_of(state_, plan);
  const std::vector<schedule::BlockCopy> copies = state_.apply(plan);
  if (spill_) spill_->save_evicted(state_);
  run(copy(copies, plan.rows));
  const double seconds = to_seconds(SteadyClock::now() - begin) - restoring_seconds;
  if (spill_) {
    for (const schedule::Admission& each : plan.admitted) spill_->forget(each.id);
    spill_->save(state_.take_listed(), from_seconds(seconds * kSavingShare));
  }
  if (observer_) observer_->step_ends();
  ++num_steps_;
  rows_of_steps_.observe(work.num_decode_rows + work.num_prefill_rows);
  log::debug("step: {} decode rows, {} prompt rows, {:.0f} positions: {:.2f} ms of {:.2f} expected",
             work.num_decode_rows, work.num_prefill_rows, work.num_positions, 1000 * seconds,
             1000 * cost_model_.costs().seconds_of(work));
  cost_model_.observe(work, std::max(1e-9, seconds));
}

StepLoop::Planned StepLoop::make_plan(TimePoint now) {
  schedule::StepBudget budget = this->budget();
  Planned planned{.plan = schedule::plan(state_, budget, now)};
  if (!spill_ || planned.plan.admitted.empty()) return planned;
  const double max_seconds =
      std::min(kMaxRestoringSeconds,
               std::max(kMinRestoringSeconds, schedule::prompt_seconds_limit(state_, budget)));
  bool has_changed = false;
  for (const schedule::Admission& each : planned.plan.admitted) {
    const SpillTier::Restored restored =
        spill_->restore(state_, each.id, cost_model_.costs(), max_seconds - budget.spent_seconds);
    budget.spent_seconds += restored.seconds;
    has_changed |= restored.num_blocks > 0 || !restored.is_all;
    if (!restored.is_all) budget.held_back.insert(each.id);
  }
  if (!has_changed) return planned;
  planned = {.plan = schedule::plan(state_, budget, now),
             .restoring_seconds = budget.spent_seconds};
  // It gets on, though nothing is computed.
  if (planned.plan.rows.empty()) ops_.pool().count_piece();
  return planned;
}

std::vector<PlannedRows> StepLoop::copy(std::span<const schedule::BlockCopy> copies,
                                        std::vector<PlannedRows> rows) {
  for (const schedule::BlockCopy& each : copies) {
    try {
      ops_.copy_kv(*cache_, each.from, each.to, each.num_positions);
    } catch (const std::exception& error) {
      log::error("copying part of a block failed: {}", error.what());
      std::erase_if(rows, [&each](const PlannedRows& of) { return of.id == each.id; });
      fail(each.id, Status(ErrorKind::kInternal, "copying part of a block failed"));
    }
  }
  return rows;
}

schedule::StepBudget StepLoop::budget() const {
  schedule::StepBudget budget{.num_rows = options_.token_budget,
                              .max_running = options_.max_running};
  if (options_.target_itl == Duration::zero()) return budget;
  budget.max_prefill_rows = cost_model_.max_prefill_rows();
  budget.costs = cost_model_.costs();
  budget.bounds_seconds = true;
  if (options_.target_itl) budget.target_seconds = to_seconds(*options_.target_itl);
  return budget;
}

void StepLoop::expire(TimePoint now) {
  while (!deadlines_.empty() && deadlines_.begin()->first <= now) {
    fail(deadlines_.begin()->second,
         Status(ErrorKind::kDeadlineExceeded, "the deadline has passed"));
  }
}

void StepLoop::run(std::span<const PlannedRows> rows) {
  if (rows.empty()) return;
  if (observer_) observer_->step_begins(rows);
  std::span<const float> logits;
  try {
    logits = forward(rows);
  } catch (const std::exception& error) {
    log::error("the forward pass over {} sequences failed: {}", rows.size(), error.what());
    if (rows.size() == 1) {
      fail(rows[0].id, Status(ErrorKind::kInternal, "the forward pass failed"));
    } else {
      for (const PlannedRows& each : rows) run({&each, 1});
    }
    return;
  }
  std::vector<PlannedRows> sampling;
  for (const PlannedRows& each : rows) {
    state_.advance(each);
    if (each.samples) sampling.push_back(each);
  }
  TUTTI_CHECK(logits.size() == sampling.size() * vocab_size_)
      << logits.size() << " logits for " << sampling.size() << " rows";
  std::vector<Result<SampledToken>> sampled = sample_all(sampling, logits);
  for (std::size_t i = 0; i < sampling.size(); ++i) {
    publish(sampling[i].id, std::move(sampled[i]));
  }
}

std::span<const float> StepLoop::forward(std::span<const PlannedRows> rows) {
  std::vector<model::BatchSequence> batch;
  batch.reserve(rows.size());
  for (const PlannedRows& each : rows) {
    const schedule::Sequence& sequence = state_.sequence(each.id);
    const std::span<const TokenId> tokens = sequence.tokens;
    batch.push_back({.tokens = tokens.subspan(sequence.num_computed_tokens, each.num_rows),
                     .first_position = sequence.num_computed_tokens,
                     .block_table = sequence.block_table.blocks(),
                     .num_logit_rows = each.samples ? 1 : 0});
  }
  return model_.forward(batch, *cache_);
}

std::vector<Result<SampledToken>> StepLoop::sample_all(std::span<const PlannedRows> rows,
                                                       std::span<const float> logits) {
  std::vector<Result<SampledToken>> sampled(rows.size(), SampledToken{});
  const auto sample_row = [&](std::size_t i, SamplerScratch& scratch) {
    const OpenSequence& sequence = open_.at(rows[i].id);
    const schedule::Sequence& computed = state_.sequence(rows[i].id);
    const TokenHistory history{.tokens = computed.tokens,
                               .num_prompt_tokens = computed.num_prompt_tokens,
                               .end_tokens = sequence.request.end_tokens};
    try {
      sampled[i] = sample(sequence.request.sampling, history,
                          logits.subspan(i * vocab_size_, vocab_size_), scratch);
    } catch (const std::exception& error) {
      sampled[i] = Status(ErrorKind::kInternal, fmt::format("sampling failed: {}", error.what()));
    }
  };
  if (rows.size() == 1) {
    sample_row(0, scratches_[0]);
  } else if (!rows.empty()) {
    ops_.pool().run([&](int worker) {
      for (std::size_t i = worker; i < rows.size(); i += scratches_.size()) {
        sample_row(i, scratches_[worker]);
        ops_.pool().count_piece();
      }
    });
  }
  return sampled;
}

void StepLoop::publish(SequenceId id, Result<SampledToken> sampled) {
  if (!sampled.ok()) return fail(id, sampled.status());
  OpenSequence& sequence = open_.at(id);
  last_token_time_ = SteadyClock::now();
  if (!sequence.first_token_at) sequence.first_token_at = last_token_time_;
  ++num_generation_tokens_;
  const TokenId token = sampled->token;
  if (sequence.ends_with(token)) return finish(id, FinishReason::kStop, token);

  sequence.sink.send({.token = token,
                      .index = usage_of(id).completion_tokens,
                      .logprob = sampled->logprob,
                      .top_logprobs = std::move(sampled->top_logprobs)});
  state_.append_token(id, token);
  if (has_all_tokens(id)) finish(id, FinishReason::kLength);
}

void StepLoop::finish(SequenceId id, FinishReason reason, TokenId stop_token) {
  FinishedEvent event;
  event.reason = reason;
  event.stop_token = stop_token;
  event.timings = timings_of(id);
  event.usage = usage_of(id);
  if (stop_token >= 0) ++event.usage.completion_tokens;
  state_.learn_length(id);
  OpenSequence sequence = close(id);
  ended_.emplace_back(id, std::move(sequence.sink), event);
}

void StepLoop::fail(SequenceId id, Status status) {
  FailedEvent event;
  event.status = std::move(status);
  event.usage = usage_of(id);
  event.timings = timings_of(id);
  OpenSequence sequence = close(id);
  ended_.emplace_back(id, std::move(sequence.sink), std::move(event));
}

StepLoop::OpenSequence StepLoop::close(SequenceId id) {
  if (state_.sequence(id).first_run_at) drain_rate_.count(SteadyClock::now());
  state_.remove(id);
  if (spill_) spill_->forget(id);
  auto node = open_.extract(id);
  TUTTI_CHECK(!node.empty());
  OpenSequence sequence = std::move(node.mapped());
  if (sequence.request.deadline) deadlines_.erase({*sequence.request.deadline, id});
  return sequence;
}

Usage StepLoop::usage_of(SequenceId id) const {
  const schedule::Sequence& sequence = state_.sequence(id);
  return {.prompt_tokens = sequence.num_prompt_tokens,
          .completion_tokens = sequence.num_tokens() - sequence.num_prompt_tokens,
          .cached_tokens = sequence.num_cached_tokens};
}

Timings StepLoop::timings_of(SequenceId id) const {
  const OpenSequence& sequence = open_.at(id);
  const TimePoint now = SteadyClock::now();
  const TimePoint first_run_at = state_.sequence(id).first_run_at.value_or(now);
  const TimePoint first_token_at = sequence.first_token_at.value_or(now);
  return {.queued = first_run_at - sequence.submitted_at,
          .prefill = first_token_at - first_run_at,
          .decode = now - first_token_at};
}

std::uint64_t StepLoop::progress() const { return ops_.pool().num_pieces(); }

EngineStats StepLoop::stats() const {
  const schedule::Counters& counters = state_.counters();
  const double seconds_a_row = cost_model_.costs().per_prefill_row;
  EngineStats stats{.num_running = static_cast<int>(state_.running().size()),
                    .num_waiting = state_.num_waiting(),
                    .num_blocks = state_.pool().num_blocks(),
                    .num_used_blocks = state_.pool().num_used(),
                    .num_cached_blocks = state_.pool().num_cached(),
                    .num_steps = num_steps_,
                    .num_prompt_tokens = counters.num_prompt_tokens,
                    .num_generation_tokens = num_generation_tokens_,
                    .num_preemptions = counters.num_preemptions,
                    .num_recomputed_tokens = counters.num_recomputed_tokens,
                    .num_prefix_queries = counters.num_prefix_queries,
                    .num_prefix_hits = counters.num_prefix_hits,
                    .num_pending_prompt_tokens = state_.num_pending_prompt_tokens(),
                    .prompt_tokens_per_second = seconds_a_row > 0 ? 1 / seconds_a_row : 0,
                    .ended_per_second = drain_rate_.per_second(SteadyClock::now()),
                    .last_token_time = last_token_time_,
                    .rows_of_steps = rows_of_steps_};
  if (spill_) spill_->add_stats(stats);
  return stats;
}

}  // namespace tutti::engine
