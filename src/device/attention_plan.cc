#include "device/attention_plan.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "kernels/kernel_table.h"

namespace tutti::device {
namespace {

using kernels::kAttentionChunk;
using kernels::kChunkPages;
using kernels::kMaxAttentionRows;

// Parts that a thread gets, so that the last ones done leave nobody idle for long.
constexpr int kPartsPerThread = 4;
// What the parts of cut pieces may leave behind: 16 MiB.
constexpr std::size_t kMaxPartialFloats = std::size_t{4} << 20;
// What a page costs beside its rows: the read.
constexpr int kPageCost = 4;

int common_pages(const AttentionPlan::Member& a, const AttentionPlan::Member& b) {
  const auto& x = a.sequence->block_table;
  const auto& y = b.sequence->block_table;
  const auto last_page = [](const AttentionPlan::Member& member) {
    return (member.sequence->first_position + member.first_row) / kBlockSize;
  };
  // The page of a member's first row may be in the writing; those before it are read by all rows.
  const int most = std::min(last_page(a), last_page(b));
  const auto end = std::mismatch(x.begin(), x.begin() + most, y.begin());
  return static_cast<int>(end.first - x.begin());
}

// The first position that the first row sees.
Position lowest_seen(const AttentionArgs& args, const AttentionPlan::Member& member) {
  const Position first = member.sequence->first_position + member.first_row;
  return args.sliding_window > 0 ? std::max(first - args.sliding_window + 1, 0) : 0;
}
Position last_position(const AttentionPlan::Member& member) {
  return member.sequence->first_position + member.first_row + member.num_rows - 1;
}

}  // namespace

void AttentionPlan::make(const AttentionArgs& args, const KvShape& shape, int num_threads) {
  members.clear();
  bundles.clear();
  pieces.clear();
  splits.clear();
  num_partial_floats = 0;
  const int group = args.num_heads / shape.num_kv_heads;
  const Heads heads{group, std::min(group, kMaxAttentionRows)};
  const int rows_a_member = kMaxAttentionRows / heads.a_piece;
  list_members(args, rows_a_member);
  list_bundles(args, rows_a_member);
  list_pieces(args, shape.num_kv_heads, heads);
  if (num_threads > 1) cut_long_pieces(args, shape.head_dim, num_threads);
  std::stable_sort(pieces.begin(), pieces.end(),
                   [](const Piece& a, const Piece& b) { return a.cost > b.cost; });
}

// Members that leave room for others come last, those with like block tables side by side.
void AttentionPlan::list_members(const AttentionArgs& args, int rows_a_member) {
  for (const AttentionSequence& sequence : args.sequences) {
    TUTTI_CHECK(sequence.num_rows >= 1) << "a sequence without rows";
    const int last = sequence.first_position + sequence.num_rows - 1;
    TUTTI_CHECK(sequence.block_table.size() > static_cast<std::size_t>(last / kBlockSize))
        << "position " << last << " beyond a table of " << sequence.block_table.size();
    for (int row = 0; row < sequence.num_rows; row += rows_a_member) {
      members.push_back({&sequence, row, std::min(rows_a_member, sequence.num_rows - row)});
    }
  }
  const auto small = std::stable_partition(
      members.begin(), members.end(),
      [&](const Member& member) { return 2 * member.num_rows > rows_a_member; });
  std::stable_sort(small, members.end(), [](const Member& a, const Member& b) {
    const auto& x = a.sequence->block_table;
    const auto& y = b.sequence->block_table;
    return std::lexicographical_compare(
        x.begin(), x.end(), y.begin(), y.end(),
        [](BlockId left, BlockId right) { return left.value < right.value; });
  });
}

// Goes along the members and adds one to the bundle while there is room and it shares at least half
// of the pages that the bundle shares already.
void AttentionPlan::list_bundles(const AttentionArgs& args, int rows_a_member) {
  int first = 0, num_rows = 0, common = 0;
  for (int i = 0; i < static_cast<int>(members.size()); ++i) {
    if (i > first) {
      const int shared = common_pages(members[i - 1], members[i]);
      const int with_this = i == first + 1 ? shared : std::min(common, shared);
      const bool seen = lowest_seen(args, members[i]) < with_this * kBlockSize &&
                        lowest_seen(args, members[first]) < with_this * kBlockSize;
      if (num_rows + members[i].num_rows <= rows_a_member && with_this > 0 && seen &&
          2 * with_this >= common) {
        common = with_this;
        num_rows += members[i].num_rows;
        continue;
      }
      bundles.push_back({first, i - first, num_rows, i - first > 1 ? common : 0, 0, 0});
    }
    first = i;
    num_rows = members[i].num_rows;
    common = 0;
  }
  if (!members.empty()) {
    const int count = static_cast<int>(members.size()) - first;
    bundles.push_back({first, count, num_rows, count > 1 ? common : 0, 0, 0});
  }
  for (Bundle& bundle : bundles) {
    const std::span all(members.data() + bundle.first_member, bundle.num_members);
    Position lowest = lowest_seen(args, all[0]);
    Position highest = 0;
    for (const Member& member : all) {
      lowest = std::min(lowest, lowest_seen(args, member));
      highest = std::max(highest, last_position(member));
    }
    bundle.first_chunk = lowest / kAttentionChunk;
    bundle.last_chunk = highest / kAttentionChunk + 1;
  }
}

// Rows and pages of one chunk, for one query head a row.
std::int64_t AttentionPlan::chunk_cost(const AttentionArgs& args, const Bundle& bundle,
                                       int chunk) const {
  std::int64_t cost = 0;
  for (const Member& member : std::span(members).subspan(bundle.first_member, bundle.num_members)) {
    const int first = std::max(lowest_seen(args, member) / kBlockSize, chunk * kChunkPages);
    const int last = std::min(last_position(member) / kBlockSize + 1, (chunk + 1) * kChunkPages);
    cost += std::int64_t{std::max(last - first, 0)} * (member.num_rows + kPageCost);
  }
  return cost;
}

void AttentionPlan::list_pieces(const AttentionArgs& args, int num_kv_heads, Heads heads) {
  for (int i = 0; i < static_cast<int>(bundles.size()); ++i) {
    const Bundle& bundle = bundles[i];
    std::int64_t cost = 0;
    for (int chunk = bundle.first_chunk; chunk < bundle.last_chunk; ++chunk) {
      cost += chunk_cost(args, bundle, chunk);
    }
    for (int head = 0; head < num_kv_heads; ++head) {
      for (int first = 0; first < heads.group; first += heads.a_piece) {
        const int count = std::min(heads.a_piece, heads.group - first);
        pieces.push_back({i, head, first, count, bundle.first_chunk, bundle.last_chunk, -1, cost});
      }
    }
  }
}

void AttentionPlan::cut_long_pieces(const AttentionArgs& args, int head_dim, int num_threads) {
  std::int64_t total = 0;
  for (const Piece& piece : pieces) total += piece.cost;
  const std::int64_t target = std::max<std::int64_t>(total / (kPartsPerThread * num_threads), 1);
  const std::size_t num_whole = pieces.size();
  for (std::size_t i = 0; i < num_whole; ++i) {
    const Piece whole = pieces[i];
    const Bundle& bundle = bundles[whole.bundle];
    const int num_chunks = whole.last_chunk - whole.first_chunk;
    const std::size_t floats = static_cast<std::size_t>(num_chunks) * bundle.num_rows *
                               whole.num_heads * kernels::partial_floats(head_dim);
    if (whole.cost <= target || num_chunks < 2 || num_partial_floats + floats > kMaxPartialFloats) {
      continue;
    }
    Split split{num_partial_floats, 0};
    Piece part = whole;
    part.split = static_cast<int>(splits.size());
    part.cost = 0;
    for (int chunk = whole.first_chunk; chunk < whole.last_chunk; ++chunk) {
      part.cost += chunk_cost(args, bundle, chunk);
      part.last_chunk = chunk + 1;
      if (part.cost < target && chunk + 1 < whole.last_chunk) continue;
      if (split.num_parts++ == 0) {
        pieces[i] = part;
      } else {
        pieces.push_back(part);
      }
      part.first_chunk = chunk + 1;
      part.cost = 0;
    }
    num_partial_floats += floats;
    splits.push_back(split);
  }
}

}  // namespace tutti::device
