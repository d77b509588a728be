// The softmax of one query row over a chunk of positions, by the law of ref/ref_attention.h.
// To be included after simd_elementwise.h and the products (PackedInput, store_packed_normal).
//
// Bound: arithmetic. A vector of weights costs 6 multiplications and 13 other operations.
#pragma once

#include "kernels/cpu/attention_scratch.h"
#include "kernels/kernel_table.h"
#include "kernels/kv_page.h"

namespace tutti::kernels {
namespace {

constexpr float kNoScore = -1e30f;
// Where there are registers for it, the chains of four vectors run side by side.
constexpr int kPagesAtOnce = sizeof(Vector) <= kVectorRegisterBytes ? 2 : 1;

// Pages and positions are counted from the chunk's first.
struct ChunkRow {
  Seen seen;                   // not empty
  float factor;                // the scores' scale, times log2 e
  const float* scores;         // of the first page, [32]
  PackedInput* weights;        // likewise
  std::ptrdiff_t page_stride;  // from one page's scores or weights to the next page's
  // Of the pages that are seen, where they are int8: the positions' scales.
  const float* key_scales[kChunkPages];
  const float* value_scales[kChunkPages];

  int first_page() const { return seen.begin / kBlockSize; }
  int last_page() const { return (seen.end - 1) / kBlockSize; }
  bool sees_all_of(int page) const {
    return seen.begin <= page * kBlockSize && seen.end >= (page + 1) * kBlockSize;
  }
  // Lanes of a page's positions that are not seen become `other`.
  TUTTI_INLINE void replace_unseen(int page, float other, Vector& low, Vector& high) const {
    const int begin = seen.begin - page * kBlockSize;
    const int end = seen.end - page * kBlockSize;
    low = select_lanes(low, broadcast(other), begin, end);
    high = select_lanes(high, broadcast(other), begin - kLanes, end - kLanes);
  }
  template <bool kInt8>
  TUTTI_INLINE Vector scores_at(int page, int lane) const {
    const Vector products = load(scores + page * page_stride + lane);
    return kInt8 ? mul(products, load(key_scales[page] + lane)) : products;
  }
};

// The largest score that the row sees, times the factor. That is the largest of the products with
// the factor too: rounding keeps the order.
template <bool kInt8>
TUTTI_INLINE float largest_score(const ChunkRow& row) {
  Vector largest = broadcast(kNoScore);
  for (int page = row.first_page(); page <= row.last_page(); ++page) {
    Vector low = row.scores_at<kInt8>(page, 0);
    Vector high = row.scores_at<kInt8>(page, kLanes);
    if (!row.sees_all_of(page)) row.replace_unseen(page, kNoScore, low, high);
    // Gives its second operand when there is a NaN.
    largest = maximum(high, maximum(low, largest));
  }
  return largest_lane(largest) * row.factor;
}

// Scores -> packed weights of kPages pages; the weights, before their rounding and the values'
// scales, are added to `sum`.
template <bool kInt8, int kPages>
TUTTI_INLINE void write_pages(const ChunkRow& row, int first_page, float largest_score,
                              Vector& sum) {
  const Vector factor = broadcast(row.factor);
  const Vector largest = broadcast(largest_score);
  Vector weights[2 * kPages];
#pragma GCC unroll 4
  for (int i = 0; i < 2 * kPages; ++i) {
    const Vector scores = row.scores_at<kInt8>(first_page + i / 2, i % 2 * kLanes);
    weights[i] = sub(mul(scores, factor), largest);
  }
  powers_of_two(weights);
#pragma GCC unroll 2
  for (int i = 0; i < kPages; ++i) {
    const int page = first_page + i;
    Vector& low = weights[2 * i];
    Vector& high = weights[2 * i + 1];
    const bool all = row.sees_all_of(page);
    if (!all) row.replace_unseen(page, 0.0f, low, high);
    sum = add(add(sum, low), high);
    if constexpr (kInt8) {
      low = mul(low, load(row.value_scales[page]));
      high = mul(high, load(row.value_scales[page] + kLanes));
      if (!all) row.replace_unseen(page, 0.0f, low, high);
    }
    store_packed_normal(row.weights + page * row.page_stride, low, high);
  }
}

// The weights of all pages that the row sees a part of; returns their sum.
template <bool kInt8>
float write_weights(const ChunkRow& row, float largest_score) {
  Vector sum = zero();
  int page = row.first_page();
  const int end = row.last_page() + 1;
  for (; page + kPagesAtOnce <= end; page += kPagesAtOnce) {
    write_pages<kInt8, kPagesAtOnce>(row, page, largest_score, sum);
  }
  for (; page < end; ++page) write_pages<kInt8, 1>(row, page, largest_score, sum);
  return sum_lanes(sum);
}

}  // namespace
}  // namespace tutti::kernels
