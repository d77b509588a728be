// How the attention of a step is cut into jobs for the threads. Integers only; a row's bits depend
// on none of it.
//
// 1. The rows of a sequence are cut into members of as many as a kernel takes.
// 2. Members whose block tables begin with the same blocks are put into one bundle, so that the
//    pages that they have in common are read once for all of them.
// 3. A piece is a bundle with one key and value head and its query heads. Where a piece is much of
//    the whole, as with one long sequence, it is cut by chunks of the context
//    (kernels::kAttentionChunk), and its parts are merged in order by whoever does the last.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "device/ops.h"

namespace tutti::device {

struct AttentionPlan {
  // Consecutive rows of one sequence.
  struct Member {
    const AttentionSequence* sequence;
    int first_row;  // in the sequence
    int num_rows;
  };
  struct Bundle {
    int first_member;
    int num_members;
    int num_rows;          // of all members
    int num_common_pages;  // that the tables of all members begin with; 0 for one member
    int first_chunk;       // that some row sees chunks [first_chunk, last_chunk)
    int last_chunk;
  };
  struct Piece {
    int bundle;
    int kv_head;
    int first_head;  // among the query heads of the key and value head
    int num_heads;
    int first_chunk;
    int last_chunk;
    int split;  // index, or -1 for the whole of its context
    std::int64_t cost;
  };
  // A piece that was cut: what its parts leave for each chunk and row.
  struct Split {
    std::size_t first_float;  // in the plan's partials
    int num_parts;
  };

  std::vector<Member> members;
  std::vector<Bundle> bundles;
  std::vector<Piece> pieces;  // the longest first
  std::vector<Split> splits;
  std::size_t num_partial_floats = 0;

  // Replaces what the plan held; the sequences of `args` must outlive it. Fails a check for a
  // sequence without rows or with a table that does not cover them.
  void make(const AttentionArgs& args, const KvShape& shape, int num_threads);

 private:
  struct Heads {
    int group;    // query heads of a key and value head
    int a_piece;  // of them in one piece
  };
  void list_members(const AttentionArgs& args, int rows_a_member);
  void list_bundles(const AttentionArgs& args, int rows_a_member);
  void list_pieces(const AttentionArgs& args, int num_kv_heads, Heads heads);
  void cut_long_pieces(const AttentionArgs& args, int head_dim, int num_threads);
  std::int64_t chunk_cost(const AttentionArgs& args, const Bundle& bundle, int chunk) const;
};

}  // namespace tutti::device
