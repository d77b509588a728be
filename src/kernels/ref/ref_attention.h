// The law of attention for one query row, in plain scalar code.
//
// For each chunk of kAttentionChunk positions, in order, over the positions that the row sees (with
// bf16 pages without the scales of k and v):
//   s = (q . k) k_scale      q rounded to bf16, the product by the law of panel.h
//   f = scale log2 e    m = max(-1e30, s) f    e = 2^(s f - m)    w = bf16(e v_scale)
//   l = sum of e: position p onto lane p % 16, in order, then sum_of_lanes
//   o = 0; for each page in order: o = o + w . v, again by the law of panel.h
// and the chunk is merged onto M = -1e30, L = 0, O = 0:
//   M' = max(M, m)    a = 2^(M - M')    b = 2^(m - M')    L = fma(L, a, l b)
//   O = fma(O, a, o b)
// with 2^x by power_law. out = O (1 / L). A chunk of which a row sees nothing changes nothing.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "kernels/bf16_law.h"
#include "kernels/kernel_table.h"
#include "kernels/kv_page.h"

namespace tutti::kernels {

// even + odd of one block of 32 inputs (panel.h); weight(k) is the bf16 value of input k.
template <typename Weight>
float block_sum(const std::uint16_t* x, const Weight& weight) {
  float sums[2] = {0.0f, 0.0f};
  for (int k = 0; k < kBlockInputs; ++k) {
    sums[k % 2] = std::fmaf(bf16_to_float(x[k]), weight(k), sums[k % 2]);
  }
  return sums[0] + sums[1];
}

// The softmax of some positions and what it weighs.
struct RefPartial {
  float largest = -1e30f;
  float weight_sum = 0.0f;
  float sums[kMaxHeadDim] = {};

  void merge(float other_largest, float other_sum, const float* other_sums, int head_dim) {
    const float new_largest = std::max(largest, other_largest);
    const float decay = power_law(largest - new_largest);
    const float factor = power_law(other_largest - new_largest);
    largest = new_largest;
    weight_sum = std::fmaf(weight_sum, decay, other_sum * factor);
    for (int d = 0; d < head_dim; ++d) sums[d] = std::fmaf(sums[d], decay, other_sums[d] * factor);
  }
  void write(int head_dim, float* out) const {
    const float inverse = 1.0f / weight_sum;
    for (int d = 0; d < head_dim; ++d) out[d] = sums[d] * inverse;
  }
};

class RefRow {
 public:
  RefRow(const AttentionJob& job, const BlockId* block_table, const float* q)
      : job_(job), block_table_(block_table) {
    for (int d = 0; d < kMaxHeadDim; ++d) q_[d] = d < job.head_dim ? round_to_bf16(q[d]) : 0;
  }

  // Of positions [begin, end), which lie in one chunk.
  RefPartial chunk(Position begin, Position end) const {
    RefPartial part;
    float scores[kAttentionChunk];
    const int base = begin / kAttentionChunk * kAttentionChunk;
    for (Position p = begin; p < end; ++p) {
      scores[p - base] = score(p);
      part.largest = std::max(part.largest, scores[p - base]);
    }
    const float factor = job_.scale * kLog2E;
    part.largest = part.largest * factor;
    float lanes[16] = {};
    float shares[kAttentionChunk] = {};
    for (Position p = begin; p < end; ++p) {
      shares[p - base] = power_law(scores[p - base] * factor - part.largest);
      lanes[p % 16] = lanes[p % 16] + shares[p - base];
    }
    part.weight_sum = sum_of_lanes(lanes);
    for (int page = begin / kBlockSize; page <= (end - 1) / kBlockSize; ++page) {
      const int first = page * kBlockSize;
      add_values(page, shares + (first - base), begin - first, end - first, part);
    }
    return part;
  }

 private:
  const std::byte* keys(int page) const {
    return job_.pages + static_cast<std::size_t>(block_table_[page].value) * job_.block_stride;
  }
  // Both are exact as bf16.
  float value_at(const std::byte* page, std::size_t index) const {
    if (job_.page_type == PageType::kBf16) {
      return bf16_to_float(reinterpret_cast<const std::uint16_t*>(page)[index]);
    }
    return static_cast<float>(reinterpret_cast<const std::int8_t*>(page)[index]);
  }

  float score(Position p) const {
    const std::byte* page = keys(p / kBlockSize);
    float sum = 0.0f;
    for (int first = 0; first < job_.head_dim; first += kBlockInputs) {
      sum = sum + block_sum(q_ + first, [&](int k) {
              return value_at(page, key_index(p % kBlockSize, first + k));
            });
    }
    if (job_.page_type == PageType::kInt8) {
      sum = sum * page_scales(page, job_.head_dim)[p % kBlockSize];
    }
    return sum;
  }

  // Positions [begin, end) of the page; shares[i] belongs to position i of the page.
  void add_values(int page, const float* shares, int begin, int end, RefPartial& part) const {
    const std::byte* values = keys(page) + job_.value_offset;
    std::uint16_t weights[kBlockSize] = {};
    for (int i = std::max(begin, 0); i < std::min(end, kBlockSize); ++i) {
      const float scale =
          job_.page_type == PageType::kInt8 ? page_scales(values, job_.head_dim)[i] : 1.0f;
      weights[i] = round_to_bf16(shares[i] * scale);
    }
    for (int d = 0; d < job_.head_dim; ++d) {
      part.sums[d] = part.sums[d] +
                     block_sum(weights, [&](int k) { return value_at(values, value_index(k, d)); });
    }
  }

  const AttentionJob& job_;
  const BlockId* block_table_;
  std::uint16_t q_[kMaxHeadDim];
};

inline void write_partial(const RefPartial* part, int head_dim, float* record) {
  const std::size_t padded = partial_floats(head_dim) - 16;
  for (std::size_t d = 0; d < padded; ++d) record[d] = part != nullptr ? part->sums[d] : 0.0f;
  record[padded] = part != nullptr ? part->largest : -1e30f;
  record[padded + 1] = part != nullptr ? part->weight_sum : -1.0f;
}

inline void ref_attention(const AttentionJob& job, void*) {
  int num_rows = 0;
  for (int i = 0; i < job.num_sequences; ++i) {
    num_rows += job.sequences[i].num_positions * job.group;
  }
  int row = 0;
  for (int i = 0; i < job.num_sequences; ++i) {
    const AttentionRows& sequence = job.sequences[i];
    for (int j = 0; j < sequence.num_positions * job.group; ++j, ++row) {
      const Position last = sequence.first_position + j / job.group;
      const Position first =
          job.sliding_window > 0 ? std::max(last - job.sliding_window + 1, 0) : 0;
      const std::ptrdiff_t offset =
          (j / job.group) * job.row_stride + (j % job.group) * job.head_dim;
      const RefRow law(job, sequence.block_table, sequence.q + offset);
      const bool whole = job.partials == nullptr;
      const int begin_chunk = whole ? first / kAttentionChunk : job.first_chunk;
      const int end_chunk = whole ? last / kAttentionChunk + 1 : job.last_chunk;
      RefPartial sum;
      for (int chunk = begin_chunk; chunk < end_chunk; ++chunk) {
        const Position begin = std::max(first, chunk * kAttentionChunk);
        const Position end = std::min(last + 1, (chunk + 1) * kAttentionChunk);
        RefPartial part;
        if (begin < end) part = law.chunk(begin, end);
        if (whole) {
          sum.merge(part.largest, part.weight_sum, part.sums, job.head_dim);
        } else {
          const std::size_t record =
              static_cast<std::size_t>(chunk - job.first_chunk) * num_rows + row;
          write_partial(begin < end ? &part : nullptr, job.head_dim,
                        job.partials + record * partial_floats(job.head_dim));
        }
      }
      if (whole) sum.write(job.head_dim, sequence.out + offset);
    }
  }
}

inline void ref_merge_attention(const AttentionMerge& job) {
  RefPartial sum;
  const std::size_t padded = partial_floats(job.head_dim) - 16;
  for (int chunk = 0; chunk < job.num_chunks; ++chunk) {
    const float* record = job.partials + chunk * job.chunk_stride;
    if (record[padded + 1] < 0) continue;
    sum.merge(record[padded], record[padded + 1], record, job.head_dim);
  }
  sum.write(job.head_dim, job.out);
}

}  // namespace tutti::kernels
