// Activations of the int8 class (int8_law.h) in memory, and the walk over rows and panels that is
// the same for every instruction set.
//
// Packed rows, with S superblocks and P = num_rows rounded up to 16:
//   x8           S slabs. A slab has a part of 16 x 256 bytes for each 16 rows; the last part may
//   be
//                shorter. What a part holds is the instruction set's choice: rows, or tiles.
//   scales       da as [S][P] f32
//   corrections  a number for each da that the instruction set may want, [S][P] int32
//   group_sums   [P][8 S] f32
//   packed_sums  the group sums as rows of the bf16 class, for the product with C
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels/int8_weights.h"
#include "kernels/kernel_table.h"

namespace tutti::kernels {
namespace {

inline constexpr int kPartRows = 16;

struct Int8Rows {
  int num_rows;
  int padded_rows;
  int num_superblocks;
  std::ptrdiff_t slab;  // bytes
  std::int8_t* x8;
  float* scales;
  std::int32_t* corrections;
  float* group_sums;
  std::byte* packed_sums;

  // Of the 16 rows from `row`, a multiple of 16, or as many as there are.
  std::int8_t* part(int superblock, int row) const {
    return x8 + superblock * slab + std::ptrdiff_t{row} * kSuperblockInputs;
  }
  float* sums_of(int row) const {
    return group_sums + std::ptrdiff_t{row} * num_superblocks * kSuperblockGroups;
  }
  std::ptrdiff_t scale_index(int superblock, int row) const {
    return std::ptrdiff_t{superblock} * padded_rows + row;
  }
};

// Rows [first_row, first_row + num_rows) times the records of one panel; added to c.
struct Int8Panel {
  const std::byte* records;
  const Int8Rows* rows;
  int first_row;  // a multiple of 16
  int num_rows;
  float* c;            // [num_rows rounded up to 16][32], of first_row; the padding is clobbered
  std::byte* scratch;  // kInt8ScratchBytes
};
// Two superblocks of a panel as bytes, and two steps' sums of 2 x 2 tiles.
inline constexpr std::size_t kInt8ScratchBytes = 2 * 8192 + 2 * 4096;

// Activations that are multiplied with a panel at once stay in the second-level cache.
inline constexpr std::ptrdiff_t kMaxChunkBytes = std::ptrdiff_t{1} << 20;

constexpr int rounded_up(int value, int step) { return (value + step - 1) / step * step; }

// An Isa has
//   static constexpr int kRowBlock            what PackRows counts in: a multiple of 16, or of
//                                             anything where last_part_rows is the identity
//   static const KernelTable& bf16()          for the product with C
//   static int last_part_rows(int)            room in an incomplete part of so many rows
//   static void pack_part(const PackRows&, const Int8Rows&, int row)
//   static void multiply<Record>(const Int8Panel&)
template <typename Isa>
Int8Rows int8_rows(const void* packed, int num_rows, int num_inputs) {
  Int8Rows rows;
  rows.num_rows = num_rows;
  rows.padded_rows = rounded_up(num_rows, kPartRows);
  rows.num_superblocks = num_superblocks(num_inputs);
  const int incomplete = num_rows % kPartRows;
  const int whole = num_rows - incomplete;
  rows.slab = std::ptrdiff_t{whole + (incomplete > 0 ? Isa::last_part_rows(incomplete) : 0)} *
              kSuperblockInputs;
  const std::ptrdiff_t count = std::ptrdiff_t{rows.num_superblocks} * rows.padded_rows;
  rows.x8 = static_cast<std::int8_t*>(const_cast<void*>(packed));
  rows.scales = reinterpret_cast<float*>(rows.x8 + count * kSuperblockInputs);
  rows.corrections = reinterpret_cast<std::int32_t*>(rows.scales + count);
  rows.group_sums = reinterpret_cast<float*>(rows.corrections + count);
  rows.packed_sums = reinterpret_cast<std::byte*>(rows.group_sums + count * kSuperblockGroups);
  return rows;
}

template <typename Isa>
std::size_t int8_packed_bytes(int num_rows, int num_inputs) {
  const auto count = static_cast<std::size_t>(num_superblocks(num_inputs)) *
                     static_cast<std::size_t>(rounded_up(num_rows, kPartRows));
  return count * (kSuperblockInputs + 8 + 4 * kSuperblockGroups) +
         Isa::bf16().packed_bytes(num_rows, num_groups(num_inputs));
}

template <typename Isa>
void int8_pack_rows(const PackRows& job) {
  const Int8Rows rows = int8_rows<Isa>(job.packed, job.num_rows, job.num_inputs);
  const int first = job.first_row_block * Isa::kRowBlock;
  const int end = job.last_row_block * Isa::kRowBlock;
  const int last = end < job.num_rows ? end : job.num_rows;
  for (int row = first; row < last; row += kPartRows) Isa::pack_part(job, rows, row);
  const KernelTable& bf16 = Isa::bf16();
  PackRows sums = job;
  sums.x = rows.group_sums;
  sums.row_stride = sums.num_inputs = num_groups(job.num_inputs);
  sums.first_row_block = first / bf16.row_block;
  sums.last_row_block = (last + bf16.row_block - 1) / bf16.row_block;
  sums.packed = rows.packed_sums;
  bf16.pack_rows(sums);
}

// c = rows x C.
template <typename Isa>
void multiply_offsets(const std::uint16_t* panel, const Int8Rows& rows, Int8Panel part) {
  const int num_inputs = rows.num_superblocks * kSuperblockGroups;
  const KernelTable& bf16 = Isa::bf16();
  const std::byte* packed = rows.packed_sums + bf16.packed_bytes(1, num_inputs) *
                                                   static_cast<std::size_t>(part.first_row);
  const int blocks = num_blocks(num_inputs);
  bf16.multiply({.panel = panel,
                 .packed = packed,
                 .num_rows = part.num_rows,
                 .total_blocks = blocks,
                 .first_block = 0,
                 .num_blocks = blocks,
                 .c = part.c});
}

template <typename Isa, typename Record>
void multiply_panels(const QuantizedProduct& job) {
  const Int8Rows rows = int8_rows<Isa>(job.packed, job.num_rows, job.num_inputs);
  const std::size_t records_bytes = int8_records_bytes(Record::kBits, job.num_inputs);
  const std::size_t panel_bytes = int8_panel_bytes(job.dtype, job.num_inputs);
  const bool has_offsets = int8_has_offsets(job.dtype);
  // A multiple of every kernel's row block.
  const auto fitting = static_cast<int>(kMaxChunkBytes / (rows.num_superblocks * 256) / 48) * 48;
  const int chunk_rows = fitting > 96 ? fitting : 96;
  auto* scratch = static_cast<std::byte*>(job.scratch);
  auto* c = reinterpret_cast<float*>(scratch + kInt8ScratchBytes);
  for (int row = 0; row < job.num_rows; row += chunk_rows) {
    const int left = job.num_rows - row;
    const int count = left < chunk_rows ? left : chunk_rows;
    for (int p = 0; p < job.num_panels; ++p) {
      const std::byte* panel = job.panels + p * panel_bytes;
      const Int8Panel part{panel, &rows, row, count, c, scratch};
      std::memset(c, 0, sizeof(float) * kPanelOutputs * static_cast<std::size_t>(count));
      if (has_offsets) {
        const auto* offsets = reinterpret_cast<const std::uint16_t*>(panel + records_bytes);
        multiply_offsets<Isa>(offsets, rows, part);
      }
      Isa::template multiply<Record>(part);
      const int first = p * kPanelOutputs;
      const int outputs = job.num_outputs - first;
      const std::size_t bytes =
          sizeof(float) *
          static_cast<std::size_t>(outputs < kPanelOutputs ? outputs : kPanelOutputs);
      float* y = job.y + row * job.row_stride + first;
      for (int m = 0; m < count; ++m) {
        std::memcpy(y + m * job.row_stride, c + m * kPanelOutputs, bytes);
      }
    }
  }
}

template <typename Isa>
void int8_multiply(const QuantizedProduct& job) {
  if (int8_bits(job.dtype) == 4) {
    multiply_panels<Isa, Int8Record4>(job);
  } else {
    multiply_panels<Isa, Int8Record5>(job);
  }
}

inline std::size_t int8_scratch_bytes(int num_rows, int) {
  return kInt8ScratchBytes +
         sizeof(float) * kPanelOutputs * static_cast<std::size_t>(rounded_up(num_rows, kPartRows));
}

template <typename Isa>
constexpr QuantizedKernels make_int8_kernels() {
  return {.panel_outputs = kPanelOutputs,
          .row_block = Isa::kRowBlock,
          .takes = int8_takes,
          .panel_bytes = int8_panel_bytes,
          .pack_weights = int8_pack_weights,
          .unpack_row = int8_unpack_row,
          .packed_bytes = int8_packed_bytes<Isa>,
          .pack_rows = int8_pack_rows<Isa>,
          .scratch_bytes = int8_scratch_bytes,
          .multiply = int8_multiply<Isa>};
}

}  // namespace
}  // namespace tutti::kernels
