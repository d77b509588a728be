// The memory of one attention job, cut out of a thread's scratch (attention_scratch_bytes()).
// To be included after PreparedValue (simd_attention.h).
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/kernel_table.h"
#include "kernels/kv_page.h"

namespace tutti::kernels {
namespace {

// Positions [begin, end).
struct Seen {
  Position begin, end;
};

// One page and the rows that take part in it.
struct Visit {
  const std::byte* keys;
  int page;  // in the sequence
  int first_row;
  int num_rows;
  const std::byte* packed_q;
};
struct VisitList {
  int count;
  Visit visits[kChunkPages * kMaxAttentionRows];
};

struct ScratchSizes {
  int rows;
  int head_dim;
  std::size_t packed_query_bytes;   // of all rows
  std::size_t packed_weight_bytes;  // of all rows and one page; a multiple of 64
};

// All parts are aligned to 64 bytes, and arrays of one value a row may be read in whole vectors.
struct AttentionScratch {
  std::byte* packed_q;        // sequence after sequence
  std::byte* packed_all;      // all rows as one
  std::byte* packed_weights;  // [pages of a chunk][rows][32]
  float* sums;                // of the chunk: [head_dim / 32][rows][32]
  float* total_sums;          // of the chunks before, likewise
  float* saved;               // [rows][head_dim padded to 32]
  float* scores;              // [pages of a chunk][rows][32]
  PreparedValue* prepared;    // a page
  VisitList* visits;          // [2]: of this chunk and the next
  Seen* seen;                 // [rows]
  int* sequence_of_row;       // [rows]
  int* first_rows;            // [num_sequences + 1]
  float* largest;             // [rows], and so all that follow
  float* weight_sum;
  float* total_largest;
  float* total_weight;
  float* decay;
  float* factor;

  AttentionScratch(void* memory, const ScratchSizes& sizes) {
    const auto rows = static_cast<std::size_t>(sizes.rows);
    const std::size_t sum_floats = rows * page_values(sizes.head_dim) / kBlockSize;
    next_ = static_cast<std::byte*>(memory);
    packed_q = take<std::byte>(sizes.packed_query_bytes);
    packed_all = take<std::byte>(sizes.packed_query_bytes);
    packed_weights = take<std::byte>(sizes.packed_weight_bytes * kChunkPages);
    sums = take<float>(sum_floats);
    total_sums = take<float>(sum_floats);
    saved = take<float>(sum_floats);
    scores = take<float>(rows * kAttentionChunk);
    prepared = take<PreparedValue>(page_values(sizes.head_dim));
    visits = take<VisitList>(2);
    seen = take<Seen>(rows);
    sequence_of_row = take<int>(rows);
    first_rows = take<int>(rows + 1);
    largest = take<float>(rows);
    weight_sum = take<float>(rows);
    total_largest = take<float>(rows);
    total_weight = take<float>(rows);
    decay = take<float>(rows);
    factor = take<float>(rows);
  }

 private:
  template <typename T>
  T* take(std::size_t count) {
    std::byte* part = next_;
    next_ += (count * sizeof(T) + 63) / 64 * 64;
    return reinterpret_cast<T*>(part);
  }
  std::byte* next_;
};

}  // namespace
}  // namespace tutti::kernels
