// Attention of a group of query rows over the pages of one key and value head, by the law of
// ref/ref_attention.h. To be included after a vector_*.h and the products
// (kRowBlock, PackedInput, packed_bytes, pack_rows, store_packed_normal, multiply) with these:
//   PreparedValue         a panel's value in the form that serves many rows best
//   kFewestPreparedRows   so many rows are worth the trouble
//   prepare_panel, prepare_bytes   panels of bf16 values, or of signed bytes -> prepared ones
//   multiply_prepared     multiply, with prepared panels
//
// For each chunk of kAttentionChunk positions: scores = q . keys (a product with one panel for each
// page), the softmax of each row, sums = weights . values (a product with head_dim / 32 panels of
// one block for each page), and these are merged onto what the row has. A page is read once for
// all rows that see it, those of several sequences where it is common to them, and fetched while
// the one before it is worked on. A row takes no part in a page that it does not see, so its bits
// do not depend on the other rows of the job.
//
// Bound: for few rows the read of the pages, else the products.
#pragma once

#include "kernels/cpu/attention_scratch.h"
#include "kernels/cpu/simd_elementwise.h"
// Needs both.
#include "kernels/cpu/simd_softmax.h"
#include "kernels/kernel_table.h"
#include "kernels/kv_page.h"

namespace tutti::kernels {
namespace {

// Pages of shuffled blocks are no stream that the processor would fetch by itself. Of 1, 2 and 3, 2
// read fastest on Zen 4.
constexpr int kPagesAhead = 2;

TUTTI_INLINE void set_zero(float* p, std::size_t count) {
  for (std::size_t i = 0; i < count; i += kLanes) store(p + i, zero());
}

void pack_all(const float* x, int rows, int inputs, std::byte* packed) {
  PackRows job;
  job.x = x;
  job.row_stride = inputs;
  job.num_rows = rows;
  job.num_inputs = inputs;
  job.last_row_block = (rows + kRowBlock - 1) / kRowBlock;
  job.packed = packed;
  pack_rows(job);
}

// Rows, and where a chunk stands in its walk over the pages.
class AttentionWalk {
 public:
  AttentionWalk(const AttentionJob& job, void* memory)
      : job_(job),
        rows_(count_rows(job)),
        padded_dim_(num_panels(job.head_dim) * kPanelOutputs),
        memory_(memory, {rows_, job.head_dim, packed_bytes(rows_, job.head_dim),
                         packed_bytes(rows_, kBlockSize)}) {
    list_rows();
    pack_queries();
  }

  void run() {
    const bool whole = job_.partials == nullptr;
    const int first = whole ? lowest_seen_ / kAttentionChunk : job_.first_chunk;
    const int last = whole ? highest_seen_ / kAttentionChunk + 1 : job_.last_chunk;
    if (whole) start_totals();
    VisitList* visits = memory_.visits;
    VisitList* next_visits = memory_.visits + 1;
    list_visits(first, *visits);
    for (int chunk = first; chunk < last; ++chunk) {
      next_visits->count = 0;
      if (chunk + 1 < last) list_visits(chunk + 1, *next_visits);
      multiply_keys(*visits);
      if (job_.page_type == PageType::kInt8) {
        soften<true>(chunk);
      } else {
        soften<false>(chunk);
      }
      add_values(*visits, *next_visits);
      if (whole) {
        merge_chunk();
      } else {
        write_partials(chunk - job_.first_chunk);
      }
      VisitList* done = visits;
      visits = next_visits;
      next_visits = done;
    }
    if (whole) write_outputs();
  }

 private:
  static int count_rows(const AttentionJob& job) {
    int rows = 0;
    for (int i = 0; i < job.num_sequences; ++i) rows += job.sequences[i].num_positions * job.group;
    return rows;
  }

  void list_rows() {
    int row = 0;
    for (int i = 0; i < job_.num_sequences; ++i) {
      const AttentionRows& sequence = job_.sequences[i];
      memory_.first_rows[i] = row;
      for (int j = 0; j < sequence.num_positions * job_.group; ++j, ++row) {
        const Position last = sequence.first_position + j / job_.group;
        const Position lower = job_.sliding_window > 0 ? last - job_.sliding_window + 1 : 0;
        memory_.seen[row] = {lower > 0 ? lower : 0, last + 1};
        memory_.sequence_of_row[row] = i;
        const Position begin = memory_.seen[row].begin;
        if (row == 0 || begin < lowest_seen_) lowest_seen_ = begin;
        if (row == 0 || last < lowest_end_) lowest_end_ = last + 1;
        if (last > highest_seen_) highest_seen_ = last;
        if (begin > highest_begin_) highest_begin_ = begin;
      }
    }
    memory_.first_rows[job_.num_sequences] = row;
  }

  // Queries of each sequence, gathered into `sums` and packed from there; once more those of all
  // when they have pages in common.
  void pack_queries() {
    float* gathered = memory_.sums;
    const int row_values = job_.group * job_.head_dim;
    for (int i = 0; i < job_.num_sequences; ++i) {
      for (int position = 0; position < job_.sequences[i].num_positions; ++position) {
        const float* q = job_.sequences[i].q + position * job_.row_stride;
        for (int j = 0; j < row_values; ++j) *gathered++ = q[j];
      }
    }
    for (int i = 0; i < job_.num_sequences; ++i) {
      const int row = memory_.first_rows[i];
      pack_all(memory_.sums + static_cast<std::ptrdiff_t>(row) * job_.head_dim,
               memory_.first_rows[i + 1] - row, job_.head_dim, packed_queries(row));
    }
    if (job_.num_sequences > 1) pack_all(memory_.sums, rows_, job_.head_dim, memory_.packed_all);
  }
  std::byte* packed_queries(int first_row) const {
    return memory_.packed_q + packed_bytes(first_row, job_.head_dim);
  }

  const std::byte* keys_of(int sequence, int page) const {
    return job_.pages + static_cast<std::size_t>(job_.sequences[sequence].block_table[page].value) *
                            job_.block_stride;
  }

  // The pages of a chunk that somebody sees, in order; each for all rows where it is common, else
  // for the rows of one sequence.
  void list_visits(int chunk, VisitList& list) const {
    list.count = 0;
    for (int page = chunk * kChunkPages; page < (chunk + 1) * kChunkPages; ++page) {
      const bool common = job_.num_sequences > 1 && page < job_.num_common_pages;
      bool all_see = true;
      const int first_visit = list.count;
      for (int i = 0; i < job_.num_sequences; ++i) {
        const int row = memory_.first_rows[i];
        const int end_row = memory_.first_rows[i + 1];
        const int first_page = memory_.seen[row].begin / kBlockSize;
        const int last_page = (memory_.seen[end_row - 1].end - 1) / kBlockSize;
        if (page < first_page || page > last_page) {
          all_see = false;
          continue;
        }
        list.visits[list.count++] = {keys_of(i, page), page, row, end_row - row,
                                     packed_queries(row)};
      }
      if (!common || !all_see) continue;
      list.count = first_visit;
      list.visits[list.count++] = {keys_of(0, page), page, 0, rows_, memory_.packed_all};
    }
  }

  // The product with a page's panels; bytes are widened in cache.
  void multiply_page(PanelProduct& product, const std::byte* page) const {
    const std::size_t count = page_values(job_.head_dim);
    const auto* panels = reinterpret_cast<const std::uint16_t*>(page);
    if (job_.page_type == PageType::kInt8) {
      prepare_bytes(page, count, memory_.prepared);
      multiply_prepared(product, memory_.prepared);
    } else if (product.num_rows >= kFewestPreparedRows) {
      prepare_panel(panels, count, memory_.prepared);
      multiply_prepared(product, memory_.prepared);
    } else {
      product.panel = panels;
      multiply(product);
    }
  }

  float* scores_of(int page, int row) const {
    return memory_.scores +
           (static_cast<std::ptrdiff_t>(page % kChunkPages) * rows_ + row) * kBlockSize;
  }

  // Keys (offset 0) or values of a list's pages, in the order of the walk.
  struct Pages {
    const VisitList& list;
    std::size_t offset;
  };
  // The page that is read kPagesAhead after page i of `now`, `after` following on it.
  TUTTI_INLINE static const std::byte* page_ahead(int i, Pages now, Pages after) {
    const int ahead = i + kPagesAhead;
    if (ahead < now.list.count) return now.list.visits[ahead].keys + now.offset;
    const int beyond = ahead - now.list.count;
    return beyond < after.list.count ? after.list.visits[beyond].keys + after.offset : nullptr;
  }

  // The rows of one block of inputs are packed one after the other, so that softmax weights are
  // written where the product reads them.
  PackedInput* packed_weights_of(int page, int row) const {
    return reinterpret_cast<PackedInput*>(memory_.packed_weights) +
           (static_cast<std::ptrdiff_t>(page % kChunkPages) * rows_ + row) * kBlockSize;
  }

  void multiply_keys(const VisitList& list) const {
    for (int i = 0; i < list.count; ++i) {
      const Visit& visit = list.visits[i];
      PanelProduct product;
      product.packed = visit.packed_q;
      product.num_rows = visit.num_rows;
      product.total_blocks = product.num_blocks = num_blocks(job_.head_dim);
      product.c = scores_of(visit.page, visit.first_row);
      product.prefetch = page_ahead(i, {list, 0}, {list, job_.value_offset});
      product.prefetch_bytes = page_bytes(job_.page_type, job_.head_dim);
      product.from_zero = true;
      multiply_page(product, visit.keys);
    }
  }

  // Scores of all rows -> packed weights; each row's largest score and the weights' sum. -1 for the
  // sum says that it sees nothing of the chunk. A row's largest score is looked for while the row
  // before it is worked on, so that nothing waits for it.
  template <bool kInt8>
  void soften(int chunk) const {
    ChunkRow rows[2];
    begin_row<kInt8>(0, chunk, rows[0]);
    for (int row = 0; row < rows_; ++row) {
      if (row + 1 < rows_) begin_row<kInt8>(row + 1, chunk, rows[(row + 1) % 2]);
      if (memory_.weight_sum[row] == -1.0f) continue;
      memory_.weight_sum[row] = write_weights<kInt8>(rows[row % 2], memory_.largest[row]);
    }
  }
  template <bool kInt8>
  void begin_row(int row, int chunk, ChunkRow& in_chunk) const {
    const Position begin = memory_.seen[row].begin - chunk * kAttentionChunk;
    const Position end = memory_.seen[row].end - chunk * kAttentionChunk;
    in_chunk.seen = {begin > 0 ? begin : 0, end < kAttentionChunk ? end : kAttentionChunk};
    const bool sees_nothing = in_chunk.seen.begin >= in_chunk.seen.end;
    memory_.largest[row] = kNoScore;
    memory_.weight_sum[row] = sees_nothing ? -1.0f : 0.0f;
    if (sees_nothing) return;
    in_chunk.factor = job_.scale * kLog2E;
    in_chunk.scores = scores_of(0, row);
    in_chunk.weights = packed_weights_of(0, row);
    in_chunk.page_stride = static_cast<std::ptrdiff_t>(rows_) * kBlockSize;
    if constexpr (kInt8) {
      for (int page = in_chunk.first_page(); page <= in_chunk.last_page(); ++page) {
        const std::byte* keys = keys_of(memory_.sequence_of_row[row], chunk * kChunkPages + page);
        in_chunk.key_scales[page] = page_scales(keys, job_.head_dim);
        in_chunk.value_scales[page] = page_scales(keys + job_.value_offset, job_.head_dim);
      }
    }
    memory_.largest[row] = largest_score<kInt8>(in_chunk);
  }

  void add_values(const VisitList& list, const VisitList& after) const {
    const bool starts_whole =
        list.count > 0 && list.visits[0].num_rows == rows_ && all_see_some_of(list.visits[0].page);
    if (!starts_whole) set_zero(memory_.sums, static_cast<std::size_t>(rows_) * padded_dim_);
    for (int i = 0; i < list.count; ++i) {
      const Visit& visit = list.visits[i];
      PanelProduct product;
      product.packed = packed_weights_of(visit.page, visit.first_row);
      product.num_rows = visit.num_rows;
      product.total_blocks = product.num_blocks = 1;
      product.num_panels = num_panels(job_.head_dim);
      product.panel_stride = kPanelBlockValues;
      product.c = memory_.sums + static_cast<std::ptrdiff_t>(visit.first_row) * kPanelOutputs;
      product.c_stride = static_cast<std::size_t>(rows_) * kPanelOutputs;
      product.prefetch = page_ahead(i, {list, job_.value_offset}, {after, 0});
      product.prefetch_bytes = page_bytes(job_.page_type, job_.head_dim);
      const int num_saved = all_see_some_of(visit.page) ? 0 : copy_blind_rows<true>(visit);
      product.from_zero = starts_whole && i == 0;
      multiply_page(product, visit.keys + job_.value_offset);
      if (num_saved > 0) copy_blind_rows<false>(visit);
    }
  }

  // Rows of a visit that see nothing of its page keep their sums: these are saved before the
  // product and put back after it. Returns how many there are.
  template <bool kSave>
  int copy_blind_rows(const Visit& visit) const {
    int count = 0;
    for (int row = visit.first_row; row < visit.first_row + visit.num_rows; ++row) {
      if (sees_some_of(visit.page, row)) continue;
      for (int d = 0; d < padded_dim_; d += kLanes) {
        float* sums = sums_of(memory_.sums, row, d);
        float* saved = memory_.saved + static_cast<std::ptrdiff_t>(count) * padded_dim_ + d;
        store(kSave ? saved : sums, load(kSave ? sums : saved));
      }
      ++count;
    }
    return count;
  }
  bool sees_some_of(int page, int row) const {
    const Seen seen = memory_.seen[row];
    return seen.begin < (page + 1) * kBlockSize && seen.end > page * kBlockSize;
  }
  bool all_see_some_of(int page) const {
    return highest_begin_ < (page + 1) * kBlockSize && lowest_end_ > page * kBlockSize;
  }
  float* sums_of(float* sums, int row, int d) const {
    return sums + (static_cast<std::ptrdiff_t>(d / kPanelOutputs) * rows_ + row) * kPanelOutputs +
           d % kPanelOutputs;
  }

  void start_totals() const {
    set_zero(memory_.total_sums, static_cast<std::size_t>(rows_) * padded_dim_);
    for (int row = 0; row < rows_; ++row) {
      memory_.total_largest[row] = kNoScore;
      memory_.total_weight[row] = 0.0f;
    }
  }

  void merge_chunk() const {
    for (int row = 0; row < rows_; row += kLanes) {
      const Vector old_largest = load(memory_.total_largest + row);
      const Vector chunk_largest = load(memory_.largest + row);
      const Vector largest = maximum(chunk_largest, old_largest);
      store(memory_.decay + row, power_of_two(sub(old_largest, largest)));
      store(memory_.factor + row, power_of_two(sub(chunk_largest, largest)));
      store(memory_.total_largest + row, largest);
    }
    for (int row = 0; row < rows_; ++row) {
      if (memory_.weight_sum[row] == -1.0f) continue;
      const float decay = memory_.decay[row];
      const float factor = memory_.factor[row];
      float& total = memory_.total_weight[row];
      total = __builtin_fmaf(total, decay, memory_.weight_sum[row] * factor);
      for (int d = 0; d < padded_dim_; d += kLanes) {
        const Vector part = mul(load(sums_of(memory_.sums, row, d)), broadcast(factor));
        float* sums = sums_of(memory_.total_sums, row, d);
        store(sums, fma(load(sums), broadcast(decay), part));
      }
    }
  }

  void write_partials(int chunk_index) const {
    const std::size_t floats = partial_floats(job_.head_dim);
    float* record = job_.partials + static_cast<std::size_t>(chunk_index) * rows_ * floats;
    for (int row = 0; row < rows_; ++row, record += floats) {
      for (int d = 0; d < padded_dim_; d += kLanes) {
        store(record + d, load(sums_of(memory_.sums, row, d)));
      }
      record[padded_dim_] = memory_.largest[row];
      record[padded_dim_ + 1] = memory_.weight_sum[row];
    }
  }

  void write_outputs() const {
    for (int row = 0; row < rows_; ++row) {
      const int in_sequence = row - memory_.first_rows[memory_.sequence_of_row[row]];
      float* out = job_.sequences[memory_.sequence_of_row[row]].out +
                   (in_sequence / job_.group) * job_.row_stride +
                   static_cast<std::ptrdiff_t>(in_sequence % job_.group) * job_.head_dim;
      const Vector inverse = broadcast(1.0f / memory_.total_weight[row]);
      for (int d = 0; d < job_.head_dim; d += kLanes) {
        const Vector result = mul(load(sums_of(memory_.total_sums, row, d)), inverse);
        store_first(out + d, result, lanes_left(d, job_.head_dim));
      }
    }
  }

  const AttentionJob& job_;
  const int rows_;
  const int padded_dim_;
  const AttentionScratch memory_;
  Position lowest_seen_ = 0;
  Position highest_seen_ = 0;
  Position highest_begin_ = 0;  // of what one row sees
  Position lowest_end_ = 0;
};

void attention(const AttentionJob& job, void* memory) { AttentionWalk(job, memory).run(); }

void merge_attention(const AttentionMerge& job) {
  alignas(64) float sums[kMaxHeadDim] = {};
  const int padded_dim = num_panels(job.head_dim) * kPanelOutputs;
  float largest = kNoScore;
  float weight_sum = 0.0f;
  for (int chunk = 0; chunk < job.num_chunks; ++chunk) {
    const float* record = job.partials + chunk * job.chunk_stride;
    const float chunk_largest = record[padded_dim];
    const float chunk_sum = record[padded_dim + 1];
    if (chunk_sum == -1.0f) continue;
    const float new_largest = chunk_largest > largest ? chunk_largest : largest;
    const Vector decay = power_of_two(broadcast(largest - new_largest));
    const Vector factor = power_of_two(broadcast(chunk_largest - new_largest));
    weight_sum = __builtin_fmaf(weight_sum, first_lane(decay), chunk_sum * first_lane(factor));
    for (int d = 0; d < padded_dim; d += kLanes) {
      store(sums + d, fma(load(sums + d), decay, mul(load(record + d), factor)));
    }
    largest = new_largest;
  }
  const Vector inverse = broadcast(1.0f / weight_sum);
  for (int d = 0; d < job.head_dim; d += kLanes) {
    store_first(job.out + d, mul(load(sums + d), inverse), lanes_left(d, job.head_dim));
  }
}

}  // namespace
}  // namespace tutti::kernels
