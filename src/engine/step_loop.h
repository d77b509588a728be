// The engine's work without its thread: open sequences in, one step after the other, events out.
//
// A step is plan → build batch → forward → sample → publish. Tokens are sent as they come; terminal
// events are handed out by take_ended(), so that whoever runs the loop can first make it known that
// the blocks are back.
//
// Thread safety: one thread owns it, but for progress(). Sampling runs on the pool of `ops`, inside
// step().
#pragma once

#include <memory>
#include <set>
#include <span>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "core/event.h"
#include "core/request.h"
#include "device/ops.h"
#include "engine/drain_rate.h"
#include "engine/engine.h"
#include "engine/sampler.h"
#include "engine/spill_tier.h"
#include "model/model.h"
#include "schedule/cost_model.h"
#include "schedule/plan.h"
#include "schedule/state.h"

namespace tutti::engine {

// A sequence that was accepted: checked against the model's bounds, its id not open.
struct Submission {
  SequenceRequest request;
  EventSink sink;
  TimePoint submitted_at;
};

// A sequence's terminal event, not yet sent.
struct EndedSequence {
  EndedSequence(SequenceId sequence, EventSink receiver, Event end)
      : id(sequence), sink(std::move(receiver)), event(std::move(end)) {}

  SequenceId id;
  EventSink sink;
  Event event;  // finished or failed

  void send() &&;
};

class StepLoop {
 public:
  // `options` as resolved by start_engine. `cache` has options.num_blocks blocks.
  StepLoop(model::Model& model, device::Ops& ops, std::unique_ptr<device::KvCache> cache,
           const EngineOptions& options, StepObserver* observer = nullptr);

  void open(Submission submission);
  void cancel(SequenceId id);  // ids that are not open are ignored
  void cancel_all();

  bool has_work() const { return !open_.empty(); }
  void step();

  // Terminal events since the last call, in the order of the ends.
  std::vector<EndedSequence> take_ended() { return std::exchange(ended_, {}); }
  bool has_ended() const { return !ended_.empty(); }

  EngineStats stats() const;
  // As EngineChannel::progress(). Any thread.
  std::uint64_t progress() const;

 private:
  struct OpenSequence {
    SequenceRequest request;  // without prompt and generated, which the state has
    EventSink sink;
    TimePoint submitted_at;
    std::optional<TimePoint> first_token_at{};

    bool ends_with(TokenId token) const;
  };

  struct Planned {
    schedule::StepPlan plan;
    double restoring_seconds = 0;
  };
  // What the next step does. Blocks of the second tier are brought back first for those who are to
  // be admitted; whoever gets more of them in the next step waits for it.
  Planned make_plan(TimePoint now);
  // Carries out the copies. Sequences whose copy throws are ended, and have none of the rows that
  // it gives.
  std::vector<schedule::PlannedRows> copy(std::span<const schedule::BlockCopy> copies,
                                          std::vector<schedule::PlannedRows> rows);
  // Runs the rows of an applied plan. When the forward pass throws, each sequence is run alone, and
  // those that fail alone too are ended.
  void run(std::span<const schedule::PlannedRows> rows);
  std::span<const float> forward(std::span<const schedule::PlannedRows> rows);
  // One result for each of the rows that sample; logits [results, vocab_size].
  std::vector<Result<SampledToken>> sample_all(std::span<const schedule::PlannedRows> rows,
                                               std::span<const float> logits);
  void publish(SequenceId id, Result<SampledToken> sampled);
  // max_tokens or the context's end is reached.
  bool has_all_tokens(SequenceId id) const;

  schedule::StepBudget budget() const;
  // Ends the sequences whose deadlines have passed.
  void expire(TimePoint now);
  // Seconds until the first token of a sequence that was just added, as the costs say: the prompts
  // before it and its own without what the cache has. 0 while the costs are not known.
  double estimated_first_token_seconds(SequenceId id) const;
  Usage usage_of(SequenceId id) const;

  void finish(SequenceId id, FinishReason reason, TokenId stop_token = -1);
  void fail(SequenceId id, Status status);
  // Gives the blocks back and hands over the sequence.
  OpenSequence close(SequenceId id);
  Timings timings_of(SequenceId id) const;

  model::Model& model_;
  device::Ops& ops_;
  const std::unique_ptr<device::KvCache> cache_;
  const EngineOptions options_;
  const std::size_t vocab_size_;
  StepObserver* const observer_;            // may be null
  const std::unique_ptr<SpillTier> spill_;  // may be null
  schedule::State state_;
  std::unordered_map<SequenceId, OpenSequence> open_;
  std::vector<EndedSequence> ended_;
  std::set<std::pair<TimePoint, SequenceId>> deadlines_;
  schedule::CostModel cost_model_;
  DrainRate drain_rate_;
  std::vector<SamplerScratch> scratches_;  // one for each worker of the pool
  std::uint64_t num_steps_ = 0;
  RowsOfSteps rows_of_steps_;
  std::uint64_t num_generation_tokens_ = 0;
  TimePoint last_token_time_{};
};

}  // namespace tutti::engine
