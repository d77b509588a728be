// Panels of the q8 class from a file's blocks, and rows from panels. Block layouts: those of
// tensor/dequantize.cc.
#include <cstring>

#include "kernels/q8_law.h"
#include "tensor/half.h"

namespace tutti::kernels {
namespace {

// One group of one output, out of a file.
struct StoredGroup {
  std::uint8_t nibbles[16];     // byte i: input i low, 16 + i high
  std::uint32_t fifth_bits;     // bit k: input k
  std::uint8_t upper_pairs[8];  // byte 4 s + c, bits 2 j: bits 4 and 5 of input 16 s + 4 j + c
  std::uint8_t scales[2];       // of types with superblocks: scale and minimum, or of the halves
};

template <typename T>
T load(const std::byte* p) {
  T value;
  std::memcpy(&value, p, sizeof(value));
  return value;
}

// Where the parts of a block of 32 lie, in bytes from its start. -1: it has none.
struct BlockParts {
  int minimum;
  int fifth_bits;
  int nibbles;
};
BlockParts parts_of(DType dtype) {
  switch (dtype) {
    case DType::kQ4_0:
      return {-1, -1, 2};
    case DType::kQ4_1:
      return {2, -1, 4};
    case DType::kQ5_0:
      return {-1, 2, 6};
    default:  // Q5_1
      return {2, 4, 8};
  }
}

// Six bits each: see dequantize.cc.
void read_k_scales(const std::byte* packed, int group, StoredGroup& stored) {
  const auto at = [packed](int i) { return std::to_integer<unsigned>(packed[i]); };
  if (group < 4) {
    stored.scales[0] = static_cast<std::uint8_t>(at(group) & 63u);
    stored.scales[1] = static_cast<std::uint8_t>(at(group + 4) & 63u);
  } else {
    stored.scales[0] = static_cast<std::uint8_t>((at(group + 4) & 15u) | at(group - 4) >> 6 << 4);
    stored.scales[1] = static_cast<std::uint8_t>(at(group + 4) >> 4 | at(group) >> 6 << 4);
  }
}

constexpr std::uint64_t kLowNibbles = 0x0f0f0f0f0f0f0f0fu;

// 32 nibbles, of one half of the bytes, in order.
void read_nibbles(const std::byte* bytes, int shift, StoredGroup& stored) {
  for (int i = 0; i < 16; i += 8) {
    const auto first = load<std::uint64_t>(bytes + i) >> shift & kLowNibbles;
    const auto second = load<std::uint64_t>(bytes + 16 + i) >> shift & kLowNibbles;
    const std::uint64_t nibbles = first | second << 4;
    std::memcpy(stored.nibbles + i, &nibbles, sizeof(nibbles));
  }
}

// Of Q6_K. The integers of a half superblock are four quarters of 32: the low halves of 64 bytes,
// then their high ones; of the upper bits, quarter i's are bits 2 i of 32 bytes.
StoredGroup read_q6_k_group(const std::byte* block, int group) {
  StoredGroup stored{};
  read_nibbles(block + group / 4 * 64 + group % 2 * 32, group % 4 / 2 * 4, stored);
  const std::byte* high = block + 128 + group / 4 * 32;
  for (int s = 0; s < 2; ++s) {
    std::uint32_t pairs = 0;
    for (int j = 0; j < 4; ++j) {
      const auto four = load<std::uint32_t>(high + 16 * s + 4 * j) >> (group % 4 * 2);
      pairs |= (four & 0x03030303u) << (2 * j);
    }
    std::memcpy(stored.upper_pairs + 4 * s, &pairs, sizeof(pairs));
  }
  std::memcpy(stored.scales, block + 192 + 2 * group, sizeof(stored.scales));
  return stored;
}

// Group `group` (0..7) of a superblock of 256, of Q4_K and Q5_K.
StoredGroup read_superblock_group(const std::byte* block, int group, bool five_bits) {
  StoredGroup stored{};
  read_k_scales(block + 4, group, stored);
  read_nibbles(block + (five_bits ? 48 : 16) + group / 2 * 32, group % 2 * 4, stored);
  if (!five_bits) return stored;
  for (int k = 0; k < kQ8GroupInputs; ++k) {
    const unsigned bit = std::to_integer<unsigned>(block[16 + k]) >> group & 1u;
    stored.fifth_bits |= bit << k;
  }
  return stored;
}

// Bits 0, 4, 8 .. 28 of `bits` side by side.
std::uint8_t every_fourth_bit(std::uint32_t bits) {
  std::uint32_t x = bits & 0x11111111u;
  x = (x | x >> 3) & 0x03030303u;
  x = (x | x >> 6) & 0x000f000fu;
  return static_cast<std::uint8_t>(x | x >> 12);
}

void put_group(const StoredGroup& stored, const Q8Format& format, int n, std::byte* tile) {
  for (int j = 0; j < 4; ++j) std::memcpy(tile + 64 * j + 4 * n, stored.nibbles + 4 * j, 4);
  if (format.bits == 6) {
    for (int s = 0; s < 2; ++s) {
      std::memcpy(tile + kQ8NibbleBytes + 64 * s + 4 * n, stored.upper_pairs + 4 * s, 4);
    }
  }
  if (format.bits != 5) return;
  for (int c = 0; c < 4; ++c) {
    tile[kQ8NibbleBytes + 4 * n + c] = std::byte{every_fourth_bit(stored.fifth_bits >> c)};
  }
}

void pack_blocks(const QuantizedWeights& job, const Q8Format& format, int n) {
  const int block_bytes = dtype_info(job.dtype).block_bytes;
  const BlockParts parts = parts_of(job.dtype);
  const int scales = format.integer_bytes();
  for (int group = 0; group < job.num_inputs / kQ8GroupInputs; ++group) {
    const std::byte* block = job.rows[n] + static_cast<std::size_t>(group) * block_bytes;
    std::byte* tile = job.panel + format.tile_offset(group);
    StoredGroup stored{};
    std::memcpy(stored.nibbles, block + parts.nibbles, sizeof(stored.nibbles));
    if (format.bits == 5) stored.fifth_bits = load<std::uint32_t>(block + parts.fifth_bits);
    put_group(stored, format, n, tile);
    std::memcpy(tile + scales + 2 * n, block, 2);
    if (format.has_minimum) std::memcpy(tile + scales + 32 + 2 * n, block + parts.minimum, 2);
  }
}

void pack_q8_0(const QuantizedWeights& job, const Q8Format& format, int n) {
  const int block_bytes = dtype_info(job.dtype).block_bytes;
  for (int group = 0; group < job.num_inputs / kQ8GroupInputs; ++group) {
    const std::byte* block = job.rows[n] + static_cast<std::size_t>(group) * block_bytes;
    std::byte* tile = job.panel + format.tile_offset(group);
    for (int t = 0; t < 8; ++t) std::memcpy(tile + 64 * t + 4 * n, block + 2 + 4 * t, 4);
    std::memcpy(tile + format.integer_bytes() + 2 * n, block, 2);
  }
}

void pack_superblocks(const QuantizedWeights& job, const Q8Format& format, int n) {
  const int block_bytes = dtype_info(job.dtype).block_bytes;
  for (int group = 0; group < job.num_inputs / kQ8GroupInputs; ++group) {
    const int within = group % kQ8SuperblockGroups;
    const std::byte* block =
        job.rows[n] + static_cast<std::size_t>(group / kQ8SuperblockGroups) * block_bytes;
    std::byte* tile = job.panel + format.tile_offset(group);
    std::byte* header = job.panel + format.header_offset(group);
    const bool is_q6_k = format.has_half_scales();
    std::memcpy(header + 2 * n, block + (is_q6_k ? 208 : 0), 2);
    if (format.has_minimum) std::memcpy(header + 32 + 2 * n, block + 2, 2);
    const StoredGroup stored = is_q6_k ? read_q6_k_group(block, within)
                                       : read_superblock_group(block, within, format.bits == 5);
    put_group(stored, format, n, tile);
    tile[format.integer_bytes() + n] = std::byte{stored.scales[0]};
    tile[format.integer_bytes() + 16 + n] = std::byte{stored.scales[1]};
  }
}

// The stored integer of input k, less the offset.
std::int8_t weight_at(const Q8Format& format, const std::byte* tile, int n, int k) {
  const auto at = [tile](int i) { return std::to_integer<unsigned>(tile[i]); };
  if (format.bits == 8) return static_cast<std::int8_t>(at(k / 4 * 64 + 4 * n + k % 4));
  const unsigned both = at(k % 16 / 4 * 64 + 4 * n + k % 4);
  unsigned value = k < 16 ? both & 15u : both >> 4;
  if (format.bits == 5) {
    value |= (at(kQ8NibbleBytes + 4 * n + k % 4) >> (k / 4) & 1u) << 4;
  } else if (format.bits == 6) {
    const unsigned pairs = at(kQ8NibbleBytes + k / 16 * 64 + 4 * n + k % 4);
    value |= (pairs >> (k % 16 / 4 * 2) & 3u) << 4;
  }
  return static_cast<std::int8_t>(static_cast<int>(value) - format.offset);
}

}  // namespace

bool q8_takes(DType dtype) { return q8_format(dtype).is_taken; }

std::size_t q8_panel_bytes(DType dtype, int num_inputs) {
  const Q8Format format = q8_format(dtype);
  const int groups = num_inputs / kQ8GroupInputs;
  const std::size_t last = groups == 0 ? 0 : format.tile_offset(groups - 1) + format.tile_bytes();
  return (last + 63) / 64 * 64;
}

void q8_pack_weights(const QuantizedWeights& job) {
  const Q8Format format = q8_format(job.dtype);
  std::memset(job.panel, 0, q8_panel_bytes(job.dtype, job.num_inputs));
  for (int n = 0; n < kQ8PanelOutputs; ++n) {
    if (job.rows[n] == nullptr) continue;
    if (format.has_superblocks) {
      pack_superblocks(job, format, n);
    } else if (format.bits == 8) {
      pack_q8_0(job, format, n);
    } else {
      pack_blocks(job, format, n);
    }
  }
}

Q8TileOutput q8_tile_output(const Q8Format& format, const std::byte* panel, int group, int n) {
  const std::byte* tile = panel + format.tile_offset(group);
  const std::byte* scales = tile + format.integer_bytes();
  const std::byte* header = panel + format.header_offset(group);
  const auto half = [n](const std::byte* p) { return f16_to_f32(load<std::uint16_t>(p + 2 * n)); };
  const auto byte = [n](const std::byte* p) {
    return static_cast<float>(std::to_integer<int>(p[n]));
  };
  Q8TileOutput output{};
  for (int k = 0; k < kQ8GroupInputs; ++k) output.weights[k] = weight_at(format, tile, n, k);
  for (int s = 0; s < 2; ++s) {
    const auto scale = static_cast<std::int8_t>(scales[16 * s + n]);
    output.half_scales[s] = format.has_half_scales() ? scale : 1;
  }
  if (format.has_half_scales()) {
    output.scale = half(header);
  } else if (format.has_superblocks) {
    output.scale = half(header) * byte(scales);
    output.minimum = -(half(header + 32) * byte(scales + 16));
  } else {
    output.scale = half(scales);
    output.minimum = format.has_minimum ? half(scales + 32) : 0.0f;
  }
  return output;
}

void q8_unpack_row(DType dtype, const std::byte* panel, int n, int num_inputs, float* row) {
  const Q8Format format = q8_format(dtype);
  for (int group = 0; group < num_inputs / kQ8GroupInputs; ++group) {
    const Q8TileOutput output = q8_tile_output(format, panel, group, n);
    for (int k = 0; k < kQ8GroupInputs; ++k) {
      const int half_scale = output.half_scales[k < kQ8HalfInputs ? 0 : 1];
      const float scale = output.scale * static_cast<float>(half_scale);
      const float product = static_cast<float>(output.weights[k]) * scale;
      row[group * kQ8GroupInputs + k] = format.has_minimum ? product + output.minimum : product;
    }
  }
}

}  // namespace tutti::kernels
