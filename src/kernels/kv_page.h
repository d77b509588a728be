// A page of keys and a page of values of one layer and head, 32 positions.
//
// Keys: one panel [D / 2][32 positions][2]. Values: D / 32 panels [16 pairs of positions][32 d][2].
// D is head_dim padded to a multiple of 32. In the page type
//   bf16   the panels hold bf16 values (panel.h);
//   int8   they hold signed bytes in the same order, and the page ends with 32 floats, the
//          positions' scales: a value is byte * scale.
//
// Law of int8. For one position's key or value x of one head: largest = max |x[d]|,
// scale = largest / 127, byte[d] = x[d] * (127 / largest) rounded to nearest even, all in f32;
// 0 for every byte and the scale when largest is 0 or a denormal. When x holds an infinity or a NaN
// the bytes are 0 and the scale is NaN, so that what is made of the position is NaN too.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/ids.h"
#include "kernels/panel.h"

namespace tutti::kernels {

static_assert(kBlockSize == kPanelOutputs && kBlockSize == kBlockInputs);

enum class PageType { kBf16, kInt8 };

// Values in a page of keys, and in one of values; and the bytes of either, a multiple of 64.
constexpr std::size_t page_values(int head_dim) { return panel_values(head_dim); }
constexpr std::size_t page_bytes(PageType type, int head_dim) {
  return type == PageType::kBf16 ? page_values(head_dim) * sizeof(std::uint16_t)
                                 : page_values(head_dim) + kBlockSize * sizeof(float);
}

// Where dimension d of position p (0..31) lies.
constexpr std::size_t key_index(int p, int d) { return panel_index(p, d); }
constexpr std::size_t value_index(int p, int d) {
  return static_cast<std::size_t>(d / kPanelOutputs) * kPanelBlockValues +
         panel_index(d % kPanelOutputs, p);
}

// Of an int8 page: [32].
inline const float* page_scales(const std::byte* page, int head_dim) {
  return reinterpret_cast<const float*>(page + page_values(head_dim));
}

// Where a position's key or value goes.
struct PageRow {
  PageType type = PageType::kBf16;
  std::byte* page = nullptr;
  int position = 0;  // in the page
};
// Writes one position's key or value [head_dim].
void store_key(const PageRow& row, const float* key, int head_dim);
void store_value(const PageRow& row, const float* value, int head_dim);

// Zeroes the positions from row.position on, as in a block that nothing was written into.
void clear_keys_from(const PageRow& row, int head_dim);
void clear_values_from(const PageRow& row, int head_dim);

}  // namespace tutti::kernels
