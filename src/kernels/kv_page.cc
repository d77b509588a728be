#include "kernels/kv_page.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/bf16_law.h"

namespace tutti::kernels {
namespace {

// x is to be multiplied with `inverse`; a byte stands for byte * scale.
struct Int8Scale {
  float inverse, scale;
};

Int8Scale int8_scale(const float* x, int count) {
  float largest = 0.0f;
  bool is_finite = true;
  for (int d = 0; d < count; ++d) {
    largest = std::max(largest, std::abs(x[d]));
    is_finite = is_finite && std::isfinite(x[d]);
  }
  if (!is_finite) return {0.0f, std::numeric_limits<float>::quiet_NaN()};
  if (largest < std::numeric_limits<float>::min()) return {0.0f, 0.0f};
  return {127.0f / largest, largest / 127.0f};
}

template <typename Index>
void store_row(const PageRow& row, const float* x, int head_dim, const Index& index) {
  if (row.type == PageType::kBf16) {
    auto* values = reinterpret_cast<std::uint16_t*>(row.page);
    for (int d = 0; d < head_dim; ++d) values[index(row.position, d)] = round_to_bf16(x[d]);
    return;
  }
  const Int8Scale scale = int8_scale(x, head_dim);
  auto* values = reinterpret_cast<std::int8_t*>(row.page);
  for (int d = 0; d < head_dim; ++d) {
    // 127 / largest may round up, and overflows for the least of floats.
    const float scaled = std::clamp(x[d] * scale.inverse, -127.0f, 127.0f);
    values[index(row.position, d)] =
        scale.inverse == 0.0f ? std::int8_t{0} : static_cast<std::int8_t>(std::lrintf(scaled));
  }
  reinterpret_cast<float*>(row.page + page_values(head_dim))[row.position] = scale.scale;
}

template <typename Index>
void clear_rows_from(const PageRow& row, int head_dim, const Index& index) {
  for (int position = row.position; position < kBlockSize; ++position) {
    for (int d = 0; d < head_dim; ++d) {
      if (row.type == PageType::kBf16) {
        reinterpret_cast<std::uint16_t*>(row.page)[index(position, d)] = 0;
      } else {
        row.page[index(position, d)] = std::byte{0};
      }
    }
    if (row.type == PageType::kInt8) {
      reinterpret_cast<float*>(row.page + page_values(head_dim))[position] = 0.0f;
    }
  }
}

}  // namespace

void store_key(const PageRow& row, const float* key, int head_dim) {
  store_row(row, key, head_dim, key_index);
}

void store_value(const PageRow& row, const float* value, int head_dim) {
  store_row(row, value, head_dim, value_index);
}

void clear_keys_from(const PageRow& row, int head_dim) {
  clear_rows_from(row, head_dim, key_index);
}

void clear_values_from(const PageRow& row, int head_dim) {
  clear_rows_from(row, head_dim, value_index);
}

}  // namespace tutti::kernels
