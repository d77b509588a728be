// The paged KV cache of every class but f32, and attention over it, split over threads.
//
// A block holds, for every layer, the page of keys and the page of values of each head
// (kernels/kv_page.h): [layer][block][kv head][keys, values].
#pragma once

#include <atomic>
#include <memory>
#include <span>
#include <vector>

#include "device/attention_plan.h"
#include "device/large_buffer.h"
#include "device/ops.h"
#include "kernels/kv_page.h"

namespace tutti::kernels {
struct KernelTable;
}

namespace tutti::device {

// Thread safety: one call at a time; the pool works inside it.
class PagedAttention {
 public:
  PagedAttention(const kernels::KernelTable& kernels, ThreadPool& pool, KvDtype dtype);

  struct KeysAndValues {
    const float* keys;
    const float* values;
  };

  // Errors: kUnsupported for a head_dim over kernels::kMaxHeadDim; kInvalidArgument for counts
  // that are not positive.
  Result<std::unique_ptr<KvCache>> make_cache(const KvShape& shape, int num_blocks) const;
  std::size_t block_bytes(const KvShape& shape) const;

  // As Ops::store_kv. The write of a block's first position zeroes the rest of its pages, so that
  // nothing of the sequence that had the block before can reach this one's sums.
  void store(KvCache& cache, int layer, KeysAndValues rows, std::span<const SlotId> slots);

  // As Ops::copy_kv. Positions behind are zero, as store() leaves them.
  void copy(KvCache& cache, BlockId from, BlockId to, int num_positions);

  // As Ops::save_kv and Ops::load_kv: [layer][kv head][keys, values].
  void save(const KvCache& cache, BlockId block, std::span<std::byte> bytes);
  void load(KvCache& cache, BlockId block, std::span<const std::byte> bytes);

  // As Ops::attention.
  void run(const KvCache& cache, const AttentionArgs& args, const float* q, float* out);

 private:
  struct Call;
  void run_piece(const Call& call, const AttentionPlan::Piece& piece, void* scratch);
  void merge_split(const Call& call, const AttentionPlan::Piece& piece);

  const kernels::KernelTable& kernels_;
  ThreadPool& pool_;
  const kernels::PageType page_type_;
  std::vector<LargeBuffer> scratch_;  // one for each worker
  AttentionPlan plan_;
  LargeBuffer partials_;
  // For each split of the plan, the parts not yet done.
  std::unique_ptr<std::atomic<int>[]> parts_left_;
  std::size_t parts_left_capacity_ = 0;
};

}  // namespace tutti::device
