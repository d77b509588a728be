// A page of keys and a page of values of one layer and head, 32 positions, in bf16 (panel.h).
//
// Keys: one panel [D / 2][32 positions][2]. Values: D / 32 panels [16 pairs of positions][32 d][2].
// D is head_dim padded to a multiple of 32.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/ids.h"
#include "kernels/panel.h"

namespace tutti::kernels {

static_assert(kBlockSize == kPanelOutputs && kBlockSize == kBlockInputs);

// bf16 values in a page of keys, and in one of values.
constexpr std::size_t page_values(int head_dim) { return panel_values(head_dim); }

// Where dimension d of position p (0..31) lies.
constexpr std::size_t key_index(int p, int d) { return panel_index(p, d); }
constexpr std::size_t value_index(int p, int d) {
  return static_cast<std::size_t>(d / kPanelOutputs) * kPanelBlockValues +
         panel_index(d % kPanelOutputs, p);
}

// Writes one position's key and value [head_dim], rounded to bf16.
void store_key(std::uint16_t* page, int position, const float* key, int head_dim);
void store_value(std::uint16_t* page, int position, const float* value, int head_dim);

// Makes positions [first, kBlockSize) of both pages zero.
void clear_positions(std::uint16_t* keys, std::uint16_t* values, int first, int head_dim);

}  // namespace tutti::kernels
