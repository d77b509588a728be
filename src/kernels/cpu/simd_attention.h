// Attention of a group of query rows over the pages of one key and value head, in the order of
// ref/ref_kernels.cc. To be included after a vector_*.h and the products
// (kRowBlock, packed_bytes, pack_rows, multiply).
//
// For each page: scores = q . keys (a product with one panel), online softmax of each row's 32
// scores, sums = fma(sums, decay, weights . values) (a product with head_dim / 32 panels of one
// block). A row takes no part in a page that it does not see, so its bits do not depend on the
// other rows of the group.
#pragma once

#include "kernels/cpu/simd_elementwise.h"
#include "kernels/kernel_table.h"
#include "kernels/kv_page.h"

namespace tutti::kernels {
namespace {

// Parts of the scratch memory; all aligned to 64 bytes.
struct AttentionScratch {
  void* packed_q;
  void* packed_weights;
  float* sums;     // [head_dim / 32][rows][32]
  float* scores;   // [rows][32], then the softmax weights
  float* product;  // [rows][32]
  float* largest;  // [rows], and so the next
  float* new_largest;
  float* weight_sum;
  float* page_sum;
  float* decay;
};

TUTTI_INLINE std::byte* take(std::byte*& memory, std::size_t bytes) {
  std::byte* part = memory;
  memory += (bytes + 63) / 64 * 64;
  return part;
}

AttentionScratch divide_scratch(void* memory, int rows, int head_dim) {
  auto* next = static_cast<std::byte*>(memory);
  const std::size_t row_floats = static_cast<std::size_t>(rows) * sizeof(float);
  AttentionScratch scratch;
  scratch.packed_q = take(next, packed_bytes(rows, head_dim));
  scratch.packed_weights = take(next, packed_bytes(rows, kBlockSize));
  scratch.sums =
      reinterpret_cast<float*>(take(next, row_floats * num_panels(head_dim) * kPanelOutputs));
  scratch.scores = reinterpret_cast<float*>(take(next, row_floats * kBlockSize));
  scratch.product = reinterpret_cast<float*>(take(next, row_floats * kBlockSize));
  scratch.largest = reinterpret_cast<float*>(take(next, row_floats));
  scratch.new_largest = reinterpret_cast<float*>(take(next, row_floats));
  scratch.weight_sum = reinterpret_cast<float*>(take(next, row_floats));
  scratch.page_sum = reinterpret_cast<float*>(take(next, row_floats));
  scratch.decay = reinterpret_cast<float*>(take(next, row_floats));
  return scratch;
}

TUTTI_INLINE void set_zero(float* p, std::size_t count) {
  for (std::size_t i = 0; i < count; i += kLanes) store(p + i, zero());
}

void pack_all(const float* x, int rows, int inputs, void* packed) {
  PackRows job;
  job.x = x;
  job.row_stride = inputs;
  job.num_rows = rows;
  job.num_inputs = inputs;
  job.last_row_block = (rows + kRowBlock - 1) / kRowBlock;
  job.packed = packed;
  pack_rows(job);
}

// Queries of all rows, gathered into `sums` and packed from there.
void pack_queries(const AttentionJob& job, const AttentionScratch& scratch) {
  float* gathered = scratch.sums;
  const int row_values = job.group * job.head_dim;
  for (int position = 0; position < job.num_positions; ++position) {
    const float* q = job.q + position * job.row_stride;
    for (int i = 0; i < row_values; ++i) *gathered++ = q[i];
  }
  pack_all(scratch.sums, job.num_positions * job.group, job.head_dim, scratch.packed_q);
}

// `next_keys`: of the page after this one, fetched meanwhile; nullptr at the end. A page is fetched
// while the one before it is worked on: that is about what memory needs.
TUTTI_INLINE void multiply_page(const AttentionJob& job, const std::uint16_t* keys,
                                const std::uint16_t* next_keys, const AttentionScratch& scratch) {
  const int rows = job.num_positions * job.group;
  set_zero(scratch.scores, static_cast<std::size_t>(rows) * kBlockSize);
  PanelProduct product;
  product.panel = keys;
  product.packed = scratch.packed_q;
  product.num_rows = rows;
  product.total_blocks = product.num_blocks = num_blocks(job.head_dim);
  product.c = scratch.scores;
  product.prefetch = reinterpret_cast<const std::byte*>(next_keys);
  product.prefetch_bytes = page_values(job.head_dim) * sizeof(std::uint16_t);
  multiply(product);
}

// The positions [begin, end) of a page that a row sees; empty when begin >= end.
struct Seen {
  int begin, end;
  TUTTI_INLINE bool all() const { return begin == 0 && end == kBlockSize; }
};
TUTTI_INLINE Seen seen_by(const AttentionJob& job, int row, int page) {
  const Position last = job.first_position + row / job.group;
  const Position lower = job.sliding_window > 0 ? last - job.sliding_window + 1 : 0;
  const int begin = lower - page * kBlockSize;
  const int end = last + 1 - page * kBlockSize;
  return {begin > 0 ? begin : 0, end < kBlockSize ? end : kBlockSize};
}

// Scales the scores of one row, puts the largest so far in place of those it does not see, and
// finds the new largest.
TUTTI_INLINE void find_largest(const AttentionJob& job, const AttentionScratch& scratch, int row,
                               Seen seen) {
  float* scores = scratch.scores + row * kBlockSize;
  const Vector old_largest = broadcast(scratch.largest[row]);
  const Vector scale = broadcast(job.scale);
  Vector first = mul(load(scores), scale);
  Vector second = mul(load(scores + kLanes), scale);
  if (!seen.all()) {
    first = select_lanes(first, old_largest, seen.begin, seen.end);
    second = select_lanes(second, old_largest, seen.begin - kLanes, seen.end - kLanes);
  }
  store(scores, first);
  store(scores + kLanes, second);
  scratch.new_largest[row] = largest_lane(maximum(maximum(first, second), old_largest));
}

// Scores of one row -> weights, and their sum.
TUTTI_INLINE void weigh(const AttentionScratch& scratch, int row, Seen seen) {
  float* scores = scratch.scores + row * kBlockSize;
  const Vector largest = broadcast(scratch.largest[row]);
  Vector first = rounded(exponential(sub(load(scores), largest)));
  Vector second = rounded(exponential(sub(load(scores + kLanes), largest)));
  if (!seen.all()) {
    first = select_lanes(first, zero(), seen.begin, seen.end);
    second = select_lanes(second, zero(), seen.begin - kLanes, seen.end - kLanes);
  }
  store(scores, first);
  store(scores + kLanes, second);
  scratch.page_sum[row] = sum_lanes(add(first, second));
}

// Scores of the page -> softmax weights; the running largest and sum of every row. A row that does
// not see the page keeps what it has: its decay is exp(0) = 1 and its page sum 0.
void soften_page(const AttentionJob& job, const AttentionScratch& scratch, int page) {
  const int rows = job.num_positions * job.group;
  for (int row = 0; row < rows; ++row) find_largest(job, scratch, row, seen_by(job, row, page));
  for (int row = 0; row < rows; row += kLanes) {
    const Vector largest = load(scratch.new_largest + row);
    store(scratch.decay + row, exponential(sub(load(scratch.largest + row), largest)));
    store(scratch.largest + row, largest);
  }
  for (int row = 0; row < rows; ++row) weigh(scratch, row, seen_by(job, row, page));
  for (int row = 0; row < rows; row += kLanes) {
    const Vector sum = fma(load(scratch.weight_sum + row), load(scratch.decay + row),
                           load(scratch.page_sum + row));
    store(scratch.weight_sum + row, sum);
  }
}

// `next_values`: of the page after this one, or nullptr.
void add_values(const AttentionJob& job, int page, const std::uint16_t* values,
                const std::uint16_t* next_values, const AttentionScratch& scratch) {
  const int rows = job.num_positions * job.group;
  const std::size_t count = static_cast<std::size_t>(rows) * kPanelOutputs;
  pack_all(scratch.scores, rows, kBlockSize, scratch.packed_weights);
  PanelProduct product;
  product.packed = scratch.packed_weights;
  product.num_rows = rows;
  product.total_blocks = product.num_blocks = 1;
  product.c = scratch.product;
  product.prefetch = reinterpret_cast<const std::byte*>(next_values);
  product.prefetch_bytes = kPanelBlockValues * sizeof(std::uint16_t);
  for (int panel = 0; panel < num_panels(job.head_dim); ++panel) {
    set_zero(scratch.product, count);
    product.panel = values + static_cast<std::ptrdiff_t>(panel) * kPanelBlockValues;
    multiply(product);
    if (product.prefetch != nullptr) product.prefetch += product.prefetch_bytes;
    float* sums = scratch.sums + panel * count;
    for (int row = 0; row < rows; ++row) {
      const Seen seen = seen_by(job, row, page);
      if (seen.begin >= seen.end) continue;
      const Vector decay = broadcast(scratch.decay[row]);
      for (int i = row * kPanelOutputs; i < (row + 1) * kPanelOutputs; i += kLanes) {
        store(sums + i, fma(load(sums + i), decay, load(scratch.product + i)));
      }
    }
  }
}

void write_outputs(const AttentionJob& job, const AttentionScratch& scratch) {
  const int rows = job.num_positions * job.group;
  for (int row = 0; row < rows; ++row) {
    float* out = job.out + (row / job.group) * job.row_stride + (row % job.group) * job.head_dim;
    const Vector inverse = broadcast(1.0f / scratch.weight_sum[row]);
    for (int d = 0; d < job.head_dim; d += kLanes) {
      const float* sums =
          scratch.sums + (d / kPanelOutputs * rows + row) * kPanelOutputs + d % kPanelOutputs;
      const int left = job.head_dim - d;
      store_first(out + d, mul(load(sums), inverse), left < kLanes ? left : kLanes);
    }
  }
}

void attention(const AttentionJob& job, void* memory) {
  const int rows = job.num_positions * job.group;
  const AttentionScratch scratch = divide_scratch(memory, rows, job.head_dim);
  pack_queries(job, scratch);
  set_zero(scratch.sums, static_cast<std::size_t>(rows) * num_panels(job.head_dim) * kPanelOutputs);
  for (int row = 0; row < rows; ++row) {
    scratch.largest[row] = -1e30f;
    scratch.weight_sum[row] = 0.0f;
  }
  const Position lower = job.sliding_window > 0 ? job.first_position - job.sliding_window + 1 : 0;
  const int first_page = lower > 0 ? lower / kBlockSize : 0;
  const int last_page = (job.first_position + job.num_positions - 1) / kBlockSize;
  const std::uint16_t* keys =
      job.pages + static_cast<std::size_t>(job.block_table[first_page].value) * job.block_stride;
  for (int page = first_page; page <= last_page; ++page) {
    const std::uint16_t* next =
        page == last_page ? nullptr
                          : job.pages + static_cast<std::size_t>(job.block_table[page + 1].value) *
                                            job.block_stride;
    multiply_page(job, keys, next, scratch);
    soften_page(job, scratch, page);
    add_values(job, page, keys + job.value_offset,
               next == nullptr ? nullptr : next + job.value_offset, scratch);
    keys = next;
  }
  write_outputs(job, scratch);
}

}  // namespace
}  // namespace tutti::kernels
