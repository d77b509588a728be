// The engine: sequences in, events out. One thread owns sequences, scheduler and block pool.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "core/event.h"
#include "core/request.h"
#include "schedule/step_plan.h"

namespace tutti::cache {
class SpillStorage;
}
namespace tutti::device {
class Ops;
}
namespace tutti::model {
class Model;
}

namespace tutti::engine {

// A second tier of the prefix cache, which outlives the engine.
struct SpillOptions {
  std::filesystem::path file;
  std::size_t max_bytes = 0;  // that the file may have
  // All that the bits of a block depend on but its tokens: a file of another one is not used.
  std::string identity;
  // Opens the bytes in place of `file`; null: they are a file.
  std::function<Result<std::unique_ptr<cache::SpillStorage>>()> open_storage;
};

struct EngineOptions {
  int max_model_len = 0;   // positions a sequence may have; 0: the model's own
  int num_blocks = 0;      // of the KV cache; >= blocks of one max_model_len sequence
  int token_budget = 512;  // rows a step may hold
  int max_running = 256;   // sequences in a batch
  int max_waiting = 4096;  // that the next step does not run; beyond: kOverloaded
  // Keeps the blocks of sequences that ended and gives them to others that begin with the same
  // tokens, within a tenant and salt.
  bool use_prefix_cache = true;
  // Between two tokens of a sequence while prompts are computed beside it, or twice what the batch
  // takes without prompts, whichever is longer. nullopt: 2.7 times what the batch
  // takes without, but 1 ms at least and 100 ms at most. 0: prompts fill the token budget.
  std::optional<Duration> target_itl;
  // Full blocks are kept here too, and come back from here. Needs use_prefix_cache. Without a file
  // that can be used the engine goes on without, and says so in the log.
  std::optional<SpillOptions> spill;
};

// How many token rows the steps held. Bounds as vLLM's.
struct RowsOfSteps {
  static constexpr std::array<int, 13> kBounds = {1,   8,    16,   32,   64,   128,  256,
                                                  512, 1024, 2048, 4096, 8192, 16384};
  // counts[i]: steps of (kBounds[i - 1], kBounds[i]] rows; the last: of more.
  std::array<std::uint64_t, kBounds.size() + 1> counts{};
  std::uint64_t sum = 0;

  void observe(int num_rows);
  void add(const RowsOfSteps& other);
};

// A moment's state, for metrics and health. Counters only grow.
struct EngineStats {
  int num_running = 0;
  int num_waiting = 0;
  int num_blocks = 0;
  int num_used_blocks = 0;    // held by running sequences
  int num_cached_blocks = 0;  // held by none, kept for the prefix cache
  std::uint64_t num_steps = 0;
  std::uint64_t num_prompt_tokens = 0;
  std::uint64_t num_generation_tokens = 0;
  std::uint64_t num_preemptions = 0;
  std::uint64_t num_recomputed_tokens = 0;
  std::uint64_t num_prefix_queries = 0;   // prompt tokens looked up in the prefix cache
  std::uint64_t num_prefix_hits = 0;      // and found
  int num_spill_blocks = 0;               // that the second tier holds
  std::uint64_t num_spill_reads = 0;      // blocks that came back from it
  std::uint64_t num_spill_writes = 0;     // blocks that it took in
  std::uint64_t num_spill_bytes = 0;      // of these
  std::uint64_t num_spill_evictions = 0;  // blocks that gave their place to others
  std::uint64_t num_spill_damages = 0;    // blocks that had the wrong checksum
  // Prompt tokens of all open sequences that are not yet computed, and how fast they are.
  std::uint64_t num_pending_prompt_tokens = 0;
  double prompt_tokens_per_second = 0;  // 0: not known yet
  // Sequences that ended in the last half minute or so, a second. 0: not known yet.
  double ended_per_second = 0;
  TimePoint last_token_time{};  // when a token was last sampled
  // Of an engine in a process of its own: how often it was replaced, and, while there is none to
  // compute, about how long that will last.
  std::uint64_t num_restarts = 0;
  Duration unavailable_for{};
  RowsOfSteps rows_of_steps;
};

// Sees the engine's steps as they happen, for whoever watches over the engine.
//
// Thread safety: called on the engine's thread, so it must return at once and must not throw.
class StepObserver {
 public:
  virtual ~StepObserver() = default;
  // These rows of these sequences are computed now.
  virtual void step_begins(std::span<const schedule::PlannedRows> rows) = 0;
  // Their results have been sent.
  virtual void step_ends() = 0;
  // Everything that the last step and the last cancellations brought about has been sent.
  virtual void published() = 0;
};

// Seconds until one more may be submitted to a full queue, in (0, 600], for Retry-After: until
// there is an engine to compute, and from then on by the rate at which sequences end.
double seconds_to_a_place(const EngineStats& stats);

// The front's end of the channel to an engine. Here the engine is a thread of this process; the
// interface is what a channel to another process offers too.
//
// Thread safety: every member may be called from any thread.
class EngineChannel {
 public:
  virtual ~EngineChannel() = default;  // stops the engine; open sequences fail with kCancelled

  // Queues a sequence. On an error the sink is not used: kOverloaded when the queue is full, with
  // the seconds until there is likely to be a place (seconds_to_a_place) in the message,
  // kInvalidArgument for a prompt that is empty or longer than the context (with both counts),
  // kDeadlineExceeded for a deadline that is past, kUnavailable when the engine is stopping. A
  // sequence whose deadline passes, or whose first token cannot be there in time by the measured
  // costs of what comes before it, ends with Failed(kDeadlineExceeded) within a step.
  virtual Status submit(SequenceRequest request, EventSink& sink) = 0;

  // Ends a sequence in any phase: its blocks go back, its sink gets Failed(kCancelled).
  // Unknown or ended ids are ignored.
  virtual void cancel(SequenceId id) = 0;

  virtual EngineStats stats() const = 0;
  // Grows whenever a piece of the engine's work is done, many times in a long step. As long as
  // there is work and it grows, the engine gets on; its size means nothing.
  virtual std::uint64_t progress() const = 0;
  // Ok, or kUnavailable with the reason while there is no engine to compute.
  virtual Status availability() const { return {}; }
  virtual int max_model_len() const = 0;
};

// Starts the engine's thread. `model` and `ops` are used by that thread only, from now on.
// `observer` may be null; it must outlive the engine.
// Errors: options out of range (named), no memory for the cache.
Result<std::unique_ptr<EngineChannel>> start_engine(model::Model& model, device::Ops& ops,
                                                    const EngineOptions& options,
                                                    StepObserver* observer = nullptr);

}  // namespace tutti::engine
