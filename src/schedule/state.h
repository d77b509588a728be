// What the scheduler knows: the open sequences, who runs, who waits, the blocks and what they hold.
//
// Thread safety: owned by the engine's thread. No device, no clock.
// Invariants (check_invariants() verifies all of it):
//   a sequence is running or waiting; a waiting one holds no blocks and has nothing computed;
//   a block has as many references as tables that list it;
//   the first num_indexed_blocks of a sequence are in the prefix index, under its own prefix.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "cache/block_pool.h"
#include "cache/block_table.h"
#include "cache/prefix_index.h"
#include "core/ids.h"
#include "schedule/step_plan.h"
#include "schedule/tenants.h"

namespace tutti::schedule {

struct NewSequence {
  SequenceId id;  // not open
  std::vector<TokenId> tokens;
  int num_prompt_tokens = 0;  // the rest of `tokens` was generated before; >= 1
  int max_num_tokens = 0;     // prompt and generated, at the most; > tokens.size()
  std::string tenant;
  double tenant_weight = 1;  // > 0
  std::string cache_salt;    // beside the tenant, sets prefixes apart
  int priority = 0;          // smaller first
  TimePoint submitted_at;
};

struct Sequence {
  SequenceId id;
  std::uint64_t order = 0;  // of submission
  int priority = 0;
  Tenant* tenant = nullptr;
  int num_prompt_tokens = 0;
  int max_num_tokens = 0;
  std::vector<TokenId> tokens;  // prompt and generated
  int num_computed_tokens = 0;  // positions [0, n) have keys and values in the blocks
  // The most it ever had: what is below and not computed now was lost to preemption.
  int max_computed_tokens = 0;
  cache::BlockTable block_table;

  std::string salt;
  std::vector<cache::Hash128> hashes;  // of the full blocks of `tokens`
  int num_indexed_blocks = 0;
  bool is_indexable = true;     // false: another prefix has a hash of this one
  int num_shared_blocks = 0;    // that the prefix cache gave when it was admitted
  int num_cached_tokens = 0;    // prompt tokens that it gave at the first admission
  std::uint64_t last_step = 0;  // the last that computed rows of it
  TimePoint submitted_at;
  std::optional<TimePoint> first_run_at;  // the first step that held a row of it

  int num_tokens() const { return static_cast<int>(tokens.size()); }
  int num_pending_tokens() const { return num_tokens() - num_computed_tokens; }
  // Prompt tokens that were never computed or found in the cache.
  int num_new_prompt_tokens() const { return std::max(0, num_prompt_tokens - max_computed_tokens); }
  cache::PrefixTokens prefix() const { return {salt, hashes, tokens}; }
};

// Counters only grow.
struct Counters {
  std::uint64_t num_prompt_tokens = 0;      // computed for the first time
  std::uint64_t num_recomputed_tokens = 0;  // computed again after a preemption
  std::uint64_t num_preemptions = 0;
  std::uint64_t num_prefix_queries = 0;  // prompt tokens looked up in the prefix cache
  std::uint64_t num_prefix_hits = 0;     // and found
};

struct StateOptions {
  int num_blocks = 0;  // >= 1
  bool use_prefix_cache = true;
  cache::HashKey hash_key{};
  bool reports_blocks = false;  // for take_listed() and take_evicted()
};

// A full block and what it stands for.
struct ReportedBlock {
  BlockId block;
  cache::BlockKey key;
};

class State {
 public:
  explicit State(const StateOptions& options);

  // Oldest first.
  const std::vector<SequenceId>& running() const { return running_; }
  int num_waiting() const { return num_open() - static_cast<int>(running_.size()); }
  int num_open() const { return static_cast<int>(sequences_.size()); }
  // The open sequence that was submitted first. There must be one.
  SequenceId oldest() const { return by_order_.begin()->second; }
  const Sequence& sequence(SequenceId id) const { return sequences_.at(id); }
  bool contains(SequenceId id) const { return sequences_.contains(id); }
  bool is_waiting(SequenceId id) const;
  const cache::BlockPool& pool() const { return pool_; }
  const Tenants& tenants() const { return tenants_; }
  const Counters& counters() const { return counters_; }
  std::uint64_t num_steps() const { return num_steps_; }  // applied plans
  // num_new_prompt_tokens of all open sequences.
  std::uint64_t num_pending_prompt_tokens() const { return num_pending_prompt_tokens_; }

  // What the prefix cache holds of the sequence's tokens but the last, which is always computed.
  cache::PrefixMatch cached_prefix(const Sequence& sequence) const;

  // Tokens that the sequence is likely to have at its end: its prompt and the share of the tokens
  // it may generate that the latest sequences made use of.
  int expected_num_tokens(const Sequence& sequence) const;

  // Of block `index` of the sequence's full ones.
  cache::BlockKey block_key(const Sequence& sequence, int index) const {
    return index_.key_of(sequence.prefix(), index);
  }

  // Brings up to `max_blocks` blocks back, from where the prefix cache ends: `fill` is told which
  // block of the sequence comes next and where it is to be written, and says whether it was. Ends
  // with the first that was not, before the sequence's last token, and when no block is available.
  // The blocks and those that the cache had of the prefix are the most recently used then. Gives
  // how many came back.
  using FillBlock = std::function<bool(int index, BlockId block)>;
  int restore(const Sequence& sequence, int max_blocks, const FillBlock& fill);
  // Full blocks of the sequence that the prefix cache may give it: not that of its last token.
  static int num_reusable_blocks(const Sequence& sequence) {
    return (sequence.num_tokens() - 1) / kBlockSize;
  }

  // Blocks that are full since the last call, and that the prefix cache gave up since then; their
  // contents are there until something is written into the pool.
  std::vector<ReportedBlock> take_listed() { return std::exchange(listed_, {}); }
  std::vector<ReportedBlock> take_evicted() { return std::exchange(evicted_, {}); }

  // A new sequence, which waits.
  void add(NewSequence added);

  // Carries out what a plan of this very state says before the forward pass: preempts, admits,
  // takes blocks. Gives the copies to be made before the forward pass, in their order. Computed
  // lengths stay but for the admitted, which have what the cache gave.
  std::vector<BlockCopy> apply(const StepPlan& plan);

  // The forward pass has computed these rows of an applied plan.
  void advance(const PlannedRows& rows);

  // A token was sampled for a sequence that has all its tokens computed.
  void append_token(SequenceId id, TokenId token);

  // The sequence has all its tokens: its length is learned from.
  void learn_length(SequenceId id);
  // The sequence has ended, in whatever phase: its blocks go back.
  void remove(SequenceId id);

  void check_invariants() const;

 private:
  // `for_memory`: the blocks had run out, so more was admitted than there was room for.
  void preempt(SequenceId id, bool for_memory);
  void admit(const Admission& admission);
  std::vector<BlockId> take_blocks(int n);
  void evict(BlockId block);
  void release_blocks(Sequence& sequence);
  void set_computed(Sequence& sequence, int num_computed_tokens);
  void extend_hashes(Sequence& sequence) const;
  void index_full_blocks(Sequence& sequence);
  static WaitingPlace waiting_place(const Sequence& sequence);

  const StateOptions options_;
  std::unordered_map<SequenceId, Sequence> sequences_;
  std::map<std::uint64_t, SequenceId> by_order_;
  std::vector<SequenceId> running_;
  Tenants tenants_;
  cache::BlockPool pool_;
  cache::PrefixIndex index_;
  Counters counters_;
  std::vector<ReportedBlock> listed_, evicted_;
  double expected_share_ = 0.5;  // of the tokens that a sequence may generate
  std::uint64_t num_pending_prompt_tokens_ = 0;
  std::uint64_t next_order_ = 0;
  std::uint64_t num_steps_ = 0;
};

}  // namespace tutti::schedule
