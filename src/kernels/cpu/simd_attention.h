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
  float* largest;  // [rows]
  float* weight_sum;
  float* decay;  // negative: the row takes no part in this page
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
  scratch.weight_sum = reinterpret_cast<float*>(take(next, row_floats));
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

TUTTI_INLINE void multiply_page(const AttentionJob& job, const std::uint16_t* keys,
                                const AttentionScratch& scratch) {
  const int rows = job.num_positions * job.group;
  set_zero(scratch.scores, static_cast<std::size_t>(rows) * kBlockSize);
  PanelProduct product;
  product.panel = keys;
  product.packed = scratch.packed_q;
  product.num_rows = rows;
  product.total_blocks = product.num_blocks = num_blocks(job.head_dim);
  product.c = scratch.scores;
  product.prefetch = reinterpret_cast<const std::byte*>(keys + job.value_offset);
  product.prefetch_bytes = page_values(job.head_dim) * sizeof(std::uint16_t);
  multiply(product);
}

// Scores of one row -> weights, decay, running largest and sum. [begin, end) of the page is seen.
TUTTI_INLINE void soften(const AttentionJob& job, const AttentionScratch& scratch, int row,
                         int begin, int end) {
  float* scores = scratch.scores + row * kBlockSize;
  const Vector old_largest = broadcast(scratch.largest[row]);
  const Vector scale = broadcast(job.scale);
  Vector first = mul(load(scores), scale);
  Vector second = mul(load(scores + kLanes), scale);
  const bool partial = begin > 0 || end < kBlockSize;
  if (partial) {
    first = select_lanes(first, old_largest, begin, end);
    second = select_lanes(second, old_largest, begin - kLanes, end - kLanes);
  }
  const float largest = largest_lane(maximum(maximum(first, second), old_largest));
  first = rounded(exponential(sub(first, broadcast(largest))));
  second = rounded(exponential(sub(second, broadcast(largest))));
  if (partial) {
    first = select_lanes(first, zero(), begin, end);
    second = select_lanes(second, zero(), begin - kLanes, end - kLanes);
  }
  store(scores, first);
  store(scores + kLanes, second);
  const float decay = exp_of(scratch.largest[row] - largest);
  scratch.decay[row] = decay;
  scratch.largest[row] = largest;
  scratch.weight_sum[row] = fused(scratch.weight_sum[row], decay, sum_lanes(add(first, second)));
}

void soften_page(const AttentionJob& job, const AttentionScratch& scratch, int page) {
  for (int row = 0; row < job.num_positions * job.group; ++row) {
    const Position last = job.first_position + row / job.group;
    const Position lower = job.sliding_window > 0 ? last - job.sliding_window + 1 : 0;
    const int begin = lower > page * kBlockSize ? lower - page * kBlockSize : 0;
    const int seen = last + 1 - page * kBlockSize;
    const int end = seen < kBlockSize ? seen : kBlockSize;
    if (begin >= end) {
      scratch.decay[row] = -1.0f;
      set_zero(scratch.scores + row * kBlockSize, kBlockSize);
    } else {
      soften(job, scratch, row, begin, end);
    }
  }
}

void add_values(const AttentionJob& job, const std::uint16_t* values, const std::byte* next_page,
                const AttentionScratch& scratch) {
  const int rows = job.num_positions * job.group;
  const std::size_t count = static_cast<std::size_t>(rows) * kPanelOutputs;
  pack_all(scratch.scores, rows, kBlockSize, scratch.packed_weights);
  PanelProduct product;
  product.packed = scratch.packed_weights;
  product.num_rows = rows;
  product.total_blocks = product.num_blocks = 1;
  product.c = scratch.product;
  product.prefetch_bytes = kPanelBlockValues * sizeof(std::uint16_t);
  for (int panel = 0; panel < num_panels(job.head_dim); ++panel) {
    set_zero(scratch.product, count);
    product.panel = values + static_cast<std::ptrdiff_t>(panel) * kPanelBlockValues;
    product.prefetch = next_page == nullptr ? nullptr : next_page + panel * product.prefetch_bytes;
    multiply(product);
    float* sums = scratch.sums + panel * count;
    for (int row = 0; row < rows; ++row) {
      if (scratch.decay[row] < 0.0f) continue;
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
    multiply_page(job, keys, scratch);
    soften_page(job, scratch, page);
    add_values(job, keys + job.value_offset, reinterpret_cast<const std::byte*>(next), scratch);
    keys = next;
  }
  write_outputs(job, scratch);
}

}  // namespace
}  // namespace tutti::kernels
