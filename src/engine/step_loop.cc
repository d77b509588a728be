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

void EndedSequence::send() && {
  if (auto* finished = std::get_if<FinishedEvent>(&event)) {
    sink.finish(std::move(*finished));
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
      state_(options.num_blocks),
      scratches_(ops.pool().num_threads()) {}

void StepLoop::open(Submission submission) {
  const SequenceId id = submission.request.id;
  OpenSequence sequence{.request = std::move(submission.request),
                        .sink = std::move(submission.sink),
                        .submitted_at = submission.submitted_at};
  sequence.tokens = std::exchange(sequence.request.prompt, {});
  sequence.num_prompt_tokens = static_cast<int>(sequence.tokens.size());
  const std::vector<TokenId> generated = std::exchange(sequence.request.generated, {});
  sequence.tokens.insert(sequence.tokens.end(), generated.begin(), generated.end());
  if (sequence.request.sampling.ignore_eos) sequence.request.end_tokens.clear();
  state_.add(id, sequence.num_prompt_tokens, sequence.submitted_at,
             sequence.num_generated_tokens());
  const bool is_complete = has_all_tokens(sequence);
  open_.emplace(id, std::move(sequence));
  if (is_complete) finish(id, FinishReason::kLength);
}

bool StepLoop::has_all_tokens(const OpenSequence& sequence) const {
  return sequence.num_generated_tokens() >= sequence.request.sampling.max_tokens ||
         static_cast<int>(sequence.tokens.size()) >= options_.max_model_len;
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
  const schedule::StepBudget budget{.num_rows = options_.token_budget,
                                    .max_running = options_.max_running};
  const schedule::StepPlan plan = schedule::plan(state_, budget, SteadyClock::now());
  if (plan.rows.empty()) return;
  state_.apply(plan);
  run(plan.rows);
  if (observer_) observer_->step_ends();
  ++num_steps_;
}

void StepLoop::run(std::span<const PlannedRows> rows) {
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
    const std::span<const TokenId> tokens = open_.at(each.id).tokens;
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
    const TokenHistory history{.tokens = sequence.tokens,
                               .num_prompt_tokens = sequence.num_prompt_tokens,
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
                      .index = sequence.num_generated_tokens(),
                      .logprob = sampled->logprob,
                      .top_logprobs = std::move(sampled->top_logprobs)});
  sequence.tokens.push_back(token);
  state_.append_token(id);
  if (has_all_tokens(sequence)) finish(id, FinishReason::kLength);
}

void StepLoop::finish(SequenceId id, FinishReason reason, TokenId stop_token) {
  FinishedEvent event;
  event.reason = reason;
  event.stop_token = stop_token;
  event.timings = timings_of(id);
  OpenSequence sequence = close(id);
  event.usage.prompt_tokens = sequence.num_prompt_tokens;
  event.usage.completion_tokens = sequence.num_generated_tokens() + (stop_token >= 0 ? 1 : 0);
  ended_.emplace_back(id, std::move(sequence.sink), std::move(event));
}

void StepLoop::fail(SequenceId id, Status status) {
  OpenSequence sequence = close(id);
  FailedEvent event;
  event.status = std::move(status);
  event.usage.prompt_tokens = sequence.num_prompt_tokens;
  event.usage.completion_tokens = sequence.num_generated_tokens();
  ended_.emplace_back(id, std::move(sequence.sink), std::move(event));
}

StepLoop::OpenSequence StepLoop::close(SequenceId id) {
  state_.remove(id);
  auto node = open_.extract(id);
  TUTTI_CHECK(!node.empty());
  return std::move(node.mapped());
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

EngineStats StepLoop::stats() const {
  return {.num_running = static_cast<int>(state_.running().size()),
          .num_waiting = static_cast<int>(state_.waiting().size()),
          .num_blocks = state_.pool().num_blocks(),
          .num_used_blocks = state_.pool().num_used(),
          .num_steps = num_steps_,
          .num_prompt_tokens = state_.counters().num_prompt_tokens,
          .num_generation_tokens = num_generation_tokens_,
          .num_preemptions = state_.counters().num_preemptions,
          .num_recomputed_tokens = state_.counters().num_recomputed_tokens,
          .last_token_time = last_token_time_};
}

}  // namespace tutti::engine
