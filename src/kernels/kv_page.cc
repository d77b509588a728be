#include "kernels/kv_page.h"

#include "kernels/bf16_law.h"

namespace tutti::kernels {

void store_key(std::uint16_t* page, int position, const float* key, int head_dim) {
  for (int d = 0; d < head_dim; ++d) page[key_index(position, d)] = round_to_bf16(key[d]);
}

void store_value(std::uint16_t* page, int position, const float* value, int head_dim) {
  for (int d = 0; d < head_dim; ++d) page[value_index(position, d)] = round_to_bf16(value[d]);
}

void clear_positions(std::uint16_t* keys, std::uint16_t* values, int first, int head_dim) {
  for (int d = 0; d < head_dim; ++d) {
    for (int position = first; position < kBlockSize; ++position) {
      keys[key_index(position, d)] = 0;
      values[value_index(position, d)] = 0;
    }
  }
}

}  // namespace tutti::kernels
