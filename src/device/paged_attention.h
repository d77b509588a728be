// The paged KV cache of the bf16 class, and attention over it, split over threads.
//
// A block holds, for every layer, the page of keys and the page of values of each head
// (kernels/kv_page.h): [layer][block][kv head][keys, values].
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "device/large_buffer.h"
#include "device/ops.h"

namespace tutti::kernels {
struct KernelTable;
}

namespace tutti::device {

// Thread safety: one call at a time; the pool works inside it.
class PagedAttention {
 public:
  PagedAttention(const kernels::KernelTable& kernels, ThreadPool& pool);

  struct KeysAndValues {
    const float* keys;
    const float* values;
  };

  // Errors: kUnsupported for a head_dim over kernels::kMaxHeadDim; kInvalidArgument for counts
  // that are not positive.
  Result<std::unique_ptr<KvCache>> make_cache(const KvShape& shape, int num_blocks) const;
  static std::size_t block_bytes(const KvShape& shape);

  // As Ops::store_kv. The write of a block's first position zeroes the rest of its pages, so that
  // nothing of the sequence that had the block before can reach this one's sums.
  void store(KvCache& cache, int layer, KeysAndValues rows, std::span<const SlotId> slots);

  // As Ops::copy_kv. Positions behind are zero, as store() leaves them.
  void copy(KvCache& cache, BlockId from, BlockId to, int num_positions);

  // As Ops::attention.
  void run(const KvCache& cache, const AttentionArgs& args, const float* q, float* out);

 private:
  // Consecutive rows of one sequence with one key and value head, and all of its query heads that a
  // kernel takes.
  struct Piece {
    const AttentionSequence* sequence;
    int first_row;  // in the sequence
    int num_rows;
    int kv_head;
    int first_head;  // among the query heads of the key and value head
    int num_heads;
  };
  void split(const AttentionArgs& args, const KvShape& shape);

  const kernels::KernelTable& kernels_;
  ThreadPool& pool_;
  std::vector<LargeBuffer> scratch_;  // one for each worker
  std::vector<Piece> pieces_;
};

}  // namespace tutti::device
