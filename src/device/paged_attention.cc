#include "device/paged_attention.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <utility>

#include "base/check.h"
#include "base/thread_pool.h"
#include "kernels/float_mode.h"
#include "kernels/kernel_table.h"
#include "kernels/kv_page.h"

namespace tutti::device {
namespace {

using kernels::page_values;

class PagedKvCache final : public KvCache {
 public:
  PagedKvCache(const KvShape& shape, int num_blocks)
      : shape_(shape),
        num_blocks_(num_blocks),
        bytes_(PagedAttention::block_bytes(shape) * static_cast<std::size_t>(num_blocks)) {}

  int num_blocks() const override { return num_blocks_; }
  const KvShape& shape() const { return shape_; }

  // bf16 values from a block's pages to the next block's.
  std::size_t block_stride() const {
    return 2 * page_values(shape_.head_dim) * static_cast<std::size_t>(shape_.num_kv_heads);
  }
  // Keys of a head in a block; its values follow.
  std::uint16_t* keys(int layer, int block, int head) const {
    const std::size_t index = static_cast<std::size_t>(layer) * num_blocks_ + block;
    return bytes_.as<std::uint16_t>() + index * block_stride() +
           2 * page_values(shape_.head_dim) * static_cast<std::size_t>(head);
  }

 private:
  KvShape shape_;
  int num_blocks_;
  LargeBuffer bytes_;
};

}  // namespace

PagedAttention::PagedAttention(const kernels::KernelTable& kernels, ThreadPool& pool)
    : kernels_(kernels), pool_(pool) {
  for (int i = 0; i < pool.num_threads(); ++i) {
    scratch_.emplace_back(kernels::attention_scratch_bytes());
  }
}

Result<std::unique_ptr<KvCache>> PagedAttention::make_cache(const KvShape& shape,
                                                            int num_blocks) const {
  if (shape.num_layers < 1 || shape.num_kv_heads < 1 || shape.head_dim < 1 || num_blocks < 1) {
    return invalid_argument(
        "kv_cache", fmt::format("a cache of {} layers, {} heads of {} and {} blocks",
                                shape.num_layers, shape.num_kv_heads, shape.head_dim, num_blocks));
  }
  if (shape.head_dim > kernels::kMaxHeadDim) {
    return unsupported(
        fmt::format("head_dim {} is over the largest that attention is built for, {}",
                    shape.head_dim, kernels::kMaxHeadDim));
  }
  return std::unique_ptr<KvCache>(std::make_unique<PagedKvCache>(shape, num_blocks));
}

std::size_t PagedAttention::block_bytes(const KvShape& shape) {
  return std::size_t{2} * shape.num_layers * shape.num_kv_heads * page_values(shape.head_dim) *
         sizeof(std::uint16_t);
}

void PagedAttention::store(KvCache& cache, int layer, KeysAndValues rows,
                           std::span<const SlotId> slots) {
  auto& paged = static_cast<PagedKvCache&>(cache);
  const KvShape& shape = paged.shape();
  TUTTI_CHECK(layer >= 0 && layer < shape.num_layers) << "layer " << layer;
  const int head_dim = shape.head_dim;
  const std::size_t row_width = static_cast<std::size_t>(shape.num_kv_heads) * head_dim;
  // A thread takes whole heads, so that zeroing a page and writing its rows stay in order.
  constexpr std::size_t kSmall = 16384;
  const std::size_t grain = std::max<std::size_t>(
      1, kSmall / std::max<std::size_t>(1, slots.size() * static_cast<std::size_t>(head_dim)));
  pool_.parallel_for(shape.num_kv_heads, grain, [&](std::size_t begin, std::size_t end) {
    const kernels::ScopedFlushDenormals flush;
    for (std::size_t row = 0; row < slots.size(); ++row) {
      const int block = static_cast<int>(slots[row].value / kBlockSize);
      const int position = static_cast<int>(slots[row].value % kBlockSize);
      TUTTI_CHECK(slots[row].value >= 0 && block < paged.num_blocks())
          << "slot " << slots[row].value << " of " << paged.num_blocks() << " blocks";
      for (std::size_t head = begin; head < end; ++head) {
        std::uint16_t* keys = paged.keys(layer, block, static_cast<int>(head));
        std::uint16_t* values = keys + page_values(head_dim);
        if (position == 0) std::fill_n(keys, 2 * page_values(head_dim), std::uint16_t{0});
        const std::size_t offset = row * row_width + head * head_dim;
        kernels::store_key(keys, position, rows.keys + offset, head_dim);
        kernels::store_value(values, position, rows.values + offset, head_dim);
      }
    }
  });
}

void PagedAttention::copy(KvCache& cache, BlockId from, BlockId to, int num_positions) {
  auto& paged = static_cast<PagedKvCache&>(cache);
  check_copy(paged, from, to, num_positions);
  const KvShape& shape = paged.shape();
  const std::size_t num_values = page_values(shape.head_dim);
  pool_.parallel_for(shape.num_layers, 1, [&](std::size_t begin, std::size_t end) {
    for (int layer = static_cast<int>(begin); layer < static_cast<int>(end); ++layer) {
      std::copy_n(paged.keys(layer, from.value, 0), paged.block_stride(),
                  paged.keys(layer, to.value, 0));
      for (int head = 0; head < shape.num_kv_heads; ++head) {
        std::uint16_t* keys = paged.keys(layer, to.value, head);
        kernels::clear_positions(keys, keys + num_values, num_positions, shape.head_dim);
      }
    }
  });
}

// Pieces of one sequence read the same pages, so a piece has as many rows as a kernel takes. The
// longest walks come first, so that no thread is left with one at the end.
void PagedAttention::split(const AttentionArgs& args, const KvShape& shape) {
  pieces_.clear();
  const int group = args.num_heads / shape.num_kv_heads;
  const int heads_a_piece = std::min(group, kernels::kMaxAttentionRows);
  const int rows_a_piece = kernels::kMaxAttentionRows / heads_a_piece;
  for (const AttentionSequence& sequence : args.sequences) {
    TUTTI_CHECK(sequence.num_rows >= 1) << "a sequence without rows";
    const int last = sequence.first_position + sequence.num_rows - 1;
    TUTTI_CHECK(sequence.block_table.size() > static_cast<std::size_t>(last / kBlockSize))
        << "position " << last << " beyond a table of " << sequence.block_table.size();
    for (int row = 0; row < sequence.num_rows; row += rows_a_piece) {
      const int count = std::min(rows_a_piece, sequence.num_rows - row);
      for (int head = 0; head < shape.num_kv_heads; ++head) {
        for (int first = 0; first < group; first += heads_a_piece) {
          pieces_.push_back(
              {&sequence, row, count, head, first, std::min(heads_a_piece, group - first)});
        }
      }
    }
  }
  const auto cost = [&](const Piece& piece) {
    const int last = piece.sequence->first_position + piece.first_row + piece.num_rows;
    const int length = args.sliding_window > 0 ? std::min(last, args.sliding_window) : last;
    return static_cast<std::int64_t>(length) * (piece.num_rows + 1);
  };
  std::stable_sort(pieces_.begin(), pieces_.end(),
                   [&](const Piece& a, const Piece& b) { return cost(a) > cost(b); });
}

void PagedAttention::run(const KvCache& cache, const AttentionArgs& args, const float* q,
                         float* out) {
  const auto& paged = static_cast<const PagedKvCache&>(cache);
  const KvShape& shape = paged.shape();
  TUTTI_CHECK(args.num_heads > 0 && args.num_heads % shape.num_kv_heads == 0)
      << args.num_heads << " heads over " << shape.num_kv_heads;
  const int group = args.num_heads / shape.num_kv_heads;
  split(args, shape);
  const std::ptrdiff_t row_stride = static_cast<std::ptrdiff_t>(args.num_heads) * shape.head_dim;
  std::atomic<std::size_t> next{0};
  pool_.run([&](int worker) {
    const kernels::ScopedFlushDenormals flush;
    for (std::size_t i = next++; i < pieces_.size(); i = next++) {
      const Piece& piece = pieces_[i];
      const AttentionSequence& sequence = *piece.sequence;
      const std::ptrdiff_t offset =
          (sequence.first_row + piece.first_row) * row_stride +
          static_cast<std::ptrdiff_t>(piece.kv_head * group + piece.first_head) * shape.head_dim;
      kernels_.attention({.pages = paged.keys(args.layer, 0, piece.kv_head),
                          .value_offset = page_values(shape.head_dim),
                          .block_stride = paged.block_stride(),
                          .block_table = sequence.block_table.data(),
                          .head_dim = shape.head_dim,
                          .group = piece.num_heads,
                          .first_position = sequence.first_position + piece.first_row,
                          .num_positions = piece.num_rows,
                          .scale = args.scale,
                          .sliding_window = args.sliding_window,
                          .q = q + offset,
                          .out = out + offset,
                          .row_stride = row_stride},
                         scratch_[static_cast<std::size_t>(worker)].data());
    }
  });
}

}  // namespace tutti::device
