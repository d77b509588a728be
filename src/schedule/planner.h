// How plan() goes about it; for plan.cc alone.
//
// Thread safety: a value of one call.
#pragma once

#include <deque>
#include <optional>
#include <queue>
#include <span>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "schedule/memory_forecast.h"
#include "schedule/plan.h"

namespace tutti::schedule {

class Planner {
 public:
  Planner(const State& state, const StepBudget& budget, TimePoint now);
  StepPlan run() &&;

 private:
  // A tenant as it is when this plan is carried out.
  struct Share {
    double served = 0;  // pending prompts of its running sequences included
    int num_running = 0;
  };

  // A running sequence, or one that this plan admits.
  struct Entry {
    const Sequence* sequence = nullptr;
    Share* share = nullptr;
    bool is_first_of_tenant = false;
    bool is_preempted = false;
    bool is_admitted = false;
    int num_computed = 0;
    int num_blocks = 0;  // that it holds
    int num_rows = 0;
    int num_new_blocks = 0;

    int num_pending() const { return sequence->num_tokens() - num_computed - num_rows; }
  };

  // A pending prompt: smaller first.
  struct Candidate {
    bool is_not_first;  // false for the oldest sequence while it waits
    int priority;
    double served;
    int length_class;
    std::uint64_t order;
    const Sequence* sequence;
    Entry* entry;  // null: it waits

    bool operator>(const Candidate& other) const;
  };

  void collect_running();
  void serve_oldest();
  void serve_decodes();
  void serve_prompts();
  StepPlan finish();

  bool is_oldest(const Sequence& sequence) const { return sequence.order == oldest_order_; }
  bool is_decode(const Entry& entry) const {
    return !entry.is_admitted && entry.sequence->num_pending_tokens() == 1;
  }

  // Rows that a prompt may have at `position`, by the budget.
  int num_rows_allowed(const Sequence& sequence, int position) const;
  int num_coverable_rows(const Entry& entry) const;
  // Gives the entry up to so many rows, preempting for a block if need be.
  void serve(Entry& entry, int num_wanted);
  void add_rows(Entry& entry, int num_rows);
  bool preempt_behind(const Entry& entry);
  void preempt(Entry& entry);

  Share& share_of(const Tenant& tenant);
  void push_waiting(const Tenant& tenant);
  void push(const Sequence& sequence, Entry* entry);
  void serve_waiting(const Sequence& sequence);
  bool waits_for_another(const Sequence& sequence, const cache::PrefixMatch& match) const;
  bool make_room(const Sequence& sequence, const cache::PrefixMatch& match);
  bool may_displace(const Sequence& sequence, const Entry& entry) const;
  void admit(const Sequence& sequence, const cache::PrefixMatch& match);
  // The oldest sequence's rows before the others have theirs.
  int num_rows_for_oldest(int position) const;

  // What the batch would be with some changes.
  struct Outlook {
    int num_running = 0;
    int num_available = 0;      // blocks
    int num_shared_blocks = 0;  // held by several, or found in the cache
    MemoryForecast forecast;
    std::unordered_map<BlockId, int> num_released;  // references that the preempted give up
    std::unordered_set<BlockId> claimed;            // that the admitted get from the cache
  };
  MemoryForecast::Member member_of(const Sequence& sequence, int num_shared_blocks) const;
  void leave(const Entry& victim, Outlook& outlook) const;
  bool is_held(BlockId block, const Outlook& outlook) const;
  bool fits(const Sequence& sequence, const cache::PrefixMatch& match, Outlook outlook) const;
  // Blocks of the match that nobody holds: they are available until it is admitted.
  int num_claimed_by(const cache::PrefixMatch& match, const Outlook& outlook) const;

  const State& state_;
  const StepBudget& budget_;
  const int max_running_;
  const std::uint64_t oldest_order_;
  int num_rows_left_;
  int num_prompt_rows_left_;
  double seconds_left_;
  bool has_stalled_ = false;      // a running sequence found no block
  bool has_run_out_ = false;      // one was preempted to give another a block
  bool is_queue_closed_ = false;  // the first of the queue does not fit
  int num_held_back_ = 0;         // that wait for another's blocks
  Outlook outlook_;
  std::deque<Entry> entries_;
  std::vector<Entry*> deserving_;  // the running, most deserving first
  std::unordered_map<const Tenant*, Share> shares_;
  std::unordered_map<const Tenant*, std::set<WaitingPlace>::const_iterator> next_waiting_;
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> candidates_;
  StepPlan plan_;
};

}  // namespace tutti::schedule
