#include "device/paged_attention.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "base/check.h"
#include "base/thread_pool.h"
#include "kernels/float_mode.h"
#include "kernels/kernel_table.h"
#include "kernels/kv_page.h"

namespace tutti::device {
namespace {

class PagedKvCache final : public KvCache {
 public:
  PagedKvCache(const KvShape& shape, kernels::PageType type, int num_blocks)
      : shape_(shape),
        type_(type),
        num_blocks_(num_blocks),
        page_bytes_(kernels::page_bytes(type, shape.head_dim)),
        bytes_(block_stride() * shape.num_layers * static_cast<std::size_t>(num_blocks)) {}

  int num_blocks() const override { return num_blocks_; }
  const KvShape& shape() const { return shape_; }
  kernels::PageType type() const { return type_; }

  // Of a page of keys, and of one of values.
  std::size_t page_bytes() const { return page_bytes_; }
  // From a block's pages to the next block's.
  std::size_t block_stride() const {
    return 2 * page_bytes_ * static_cast<std::size_t>(shape_.num_kv_heads);
  }
  // Keys of a head in a block; its values follow.
  std::byte* keys(int layer, int block, int head) const {
    const std::size_t index = static_cast<std::size_t>(layer) * num_blocks_ + block;
    return bytes_.data() + index * block_stride() +
           2 * page_bytes_ * static_cast<std::size_t>(head);
  }

 private:
  KvShape shape_;
  kernels::PageType type_;
  int num_blocks_;
  std::size_t page_bytes_;
  LargeBuffer bytes_;
};

}  // namespace

PagedAttention::PagedAttention(const kernels::KernelTable& kernels, ThreadPool& pool, KvDtype dtype)
    : kernels_(kernels),
      pool_(pool),
      page_type_(dtype == KvDtype::kInt8 ? kernels::PageType::kInt8 : kernels::PageType::kBf16) {
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
  return std::unique_ptr<KvCache>(std::make_unique<PagedKvCache>(shape, page_type_, num_blocks));
}

std::size_t PagedAttention::block_bytes(const KvShape& shape) const {
  return std::size_t{2} * shape.num_layers * shape.num_kv_heads *
         kernels::page_bytes(page_type_, shape.head_dim);
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
        std::byte* keys = paged.keys(layer, block, static_cast<int>(head));
        if (position == 0) std::memset(keys, 0, 2 * paged.page_bytes());
        const std::size_t offset = row * row_width + head * head_dim;
        kernels::PageRow to{paged.type(), keys, position};
        kernels::store_key(to, rows.keys + offset, head_dim);
        to.page += paged.page_bytes();
        kernels::store_value(to, rows.values + offset, head_dim);
      }
    }
  });
}

void PagedAttention::copy(KvCache& cache, BlockId from, BlockId to, int num_positions) {
  auto& paged = static_cast<PagedKvCache&>(cache);
  check_copy(paged, from, to, num_positions);
  const KvShape& shape = paged.shape();
  pool_.parallel_for(shape.num_layers, 1, [&](std::size_t begin, std::size_t end) {
    for (int layer = static_cast<int>(begin); layer < static_cast<int>(end); ++layer) {
      std::memcpy(paged.keys(layer, to.value, 0), paged.keys(layer, from.value, 0),
                  paged.block_stride());
      for (int head = 0; head < shape.num_kv_heads; ++head) {
        kernels::PageRow rest{paged.type(), paged.keys(layer, to.value, head), num_positions};
        kernels::clear_keys_from(rest, shape.head_dim);
        rest.page += paged.page_bytes();
        kernels::clear_values_from(rest, shape.head_dim);
      }
    }
  });
}

void PagedAttention::save(const KvCache& cache, BlockId block, std::span<std::byte> bytes) {
  const auto& paged = static_cast<const PagedKvCache&>(cache);
  check_block(paged, block, bytes.size(), block_bytes(paged.shape()));
  const std::size_t stride = paged.block_stride();
  pool_.parallel_for(paged.shape().num_layers, 1, [&](std::size_t begin, std::size_t end) {
    for (std::size_t layer = begin; layer < end; ++layer) {
      std::memcpy(bytes.data() + layer * stride,
                  paged.keys(static_cast<int>(layer), block.value, 0), stride);
    }
  });
}

void PagedAttention::load(KvCache& cache, BlockId block, std::span<const std::byte> bytes) {
  auto& paged = static_cast<PagedKvCache&>(cache);
  check_block(paged, block, bytes.size(), block_bytes(paged.shape()));
  const std::size_t stride = paged.block_stride();
  pool_.parallel_for(paged.shape().num_layers, 1, [&](std::size_t begin, std::size_t end) {
    for (std::size_t layer = begin; layer < end; ++layer) {
      std::memcpy(paged.keys(static_cast<int>(layer), block.value, 0),
                  bytes.data() + layer * stride, stride);
    }
  });
}

struct PagedAttention::Call {
  const PagedKvCache& cache;
  const AttentionArgs& args;
  const float* q;
  float* out;

  int group() const { return args.num_heads / cache.shape().num_kv_heads; }
  std::ptrdiff_t row_stride() const {
    return static_cast<std::ptrdiff_t>(args.num_heads) * cache.shape().head_dim;
  }
  // Of a member's first row and a piece's first head, in q and out.
  std::ptrdiff_t offset(const AttentionPlan::Member& member,
                        const AttentionPlan::Piece& piece) const {
    return (member.sequence->first_row + member.first_row) * row_stride() +
           static_cast<std::ptrdiff_t>(piece.kv_head * group() + piece.first_head) *
               cache.shape().head_dim;
  }
};

void PagedAttention::run(const KvCache& cache, const AttentionArgs& args, const float* q,
                         float* out) {
  const Call call{static_cast<const PagedKvCache&>(cache), args, q, out};
  const KvShape& shape = call.cache.shape();
  TUTTI_CHECK(args.num_heads > 0 && args.num_heads % shape.num_kv_heads == 0)
      << args.num_heads << " heads over " << shape.num_kv_heads;
  plan_.make(args, shape, pool_.num_threads());
  const std::size_t partial_bytes = plan_.num_partial_floats * sizeof(float);
  if (partials_.size() < partial_bytes) partials_ = LargeBuffer(partial_bytes);
  if (parts_left_capacity_ < plan_.splits.size()) {
    parts_left_capacity_ = plan_.splits.size();
    parts_left_ = std::make_unique<std::atomic<int>[]>(parts_left_capacity_);
  }
  for (std::size_t i = 0; i < plan_.splits.size(); ++i) parts_left_[i] = plan_.splits[i].num_parts;
  std::atomic<std::size_t> next{0};
  pool_.run([&](int worker) {
    const kernels::ScopedFlushDenormals flush;
    for (std::size_t i = next++; i < plan_.pieces.size(); i = next++) {
      const AttentionPlan::Piece& piece = plan_.pieces[i];
      run_piece(call, piece, scratch_[static_cast<std::size_t>(worker)].data());
      if (piece.split >= 0 && --parts_left_[piece.split] == 0) merge_split(call, piece);
      pool_.count_piece();
    }
  });
}

void PagedAttention::run_piece(const Call& call, const AttentionPlan::Piece& piece, void* scratch) {
  const AttentionPlan::Bundle& bundle = plan_.bundles[piece.bundle];
  const int head_dim = call.cache.shape().head_dim;
  std::array<kernels::AttentionRows, kernels::kMaxAttentionRows> sequences;
  for (int i = 0; i < bundle.num_members; ++i) {
    const AttentionPlan::Member& member = plan_.members[bundle.first_member + i];
    const std::ptrdiff_t offset = call.offset(member, piece);
    sequences[i] = {.block_table = member.sequence->block_table.data(),
                    .first_position = member.sequence->first_position + member.first_row,
                    .num_positions = member.num_rows,
                    .q = call.q + offset,
                    .out = call.out + offset};
  }
  kernels::AttentionJob job{.page_type = call.cache.type(),
                            .pages = call.cache.keys(call.args.layer, 0, piece.kv_head),
                            .value_offset = call.cache.page_bytes(),
                            .block_stride = call.cache.block_stride(),
                            .head_dim = head_dim,
                            .group = piece.num_heads,
                            .scale = call.args.scale,
                            .sliding_window = call.args.sliding_window,
                            .row_stride = call.row_stride(),
                            .sequences = sequences.data(),
                            .num_sequences = bundle.num_members,
                            .num_common_pages = bundle.num_common_pages};
  if (piece.split >= 0) {
    const std::size_t chunk_floats = static_cast<std::size_t>(bundle.num_rows) * piece.num_heads *
                                     kernels::partial_floats(head_dim);
    job.partials = partials_.as<float>() + plan_.splits[piece.split].first_float +
                   (piece.first_chunk - bundle.first_chunk) * chunk_floats;
    job.first_chunk = piece.first_chunk;
    job.last_chunk = piece.last_chunk;
  }
  kernels_.attention(job, scratch);
}

// All rows of a piece whose parts are done.
void PagedAttention::merge_split(const Call& call, const AttentionPlan::Piece& piece) {
  const AttentionPlan::Bundle& bundle = plan_.bundles[piece.bundle];
  const int head_dim = call.cache.shape().head_dim;
  const std::size_t floats = kernels::partial_floats(head_dim);
  const float* record = partials_.as<float>() + plan_.splits[piece.split].first_float;
  for (int i = 0; i < bundle.num_members; ++i) {
    const AttentionPlan::Member& member = plan_.members[bundle.first_member + i];
    float* out = call.out + call.offset(member, piece);
    for (int row = 0; row < member.num_rows * piece.num_heads; ++row, record += floats) {
      kernels_.merge_attention(
          {.partials = record,
           .chunk_stride = static_cast<std::ptrdiff_t>(floats) * bundle.num_rows * piece.num_heads,
           .num_chunks = bundle.last_chunk - bundle.first_chunk,
           .head_dim = head_dim,
           .out = out + (row / piece.num_heads) * call.row_stride() +
                  static_cast<std::ptrdiff_t>(row % piece.num_heads) * head_dim});
    }
  }
}

}  // namespace tutti::device
