#include "kernels/int8_weights.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/bf16_law.h"
#include "tensor/half.h"

namespace tutti::kernels {
namespace {

// One output's superblock: value i is scale[i / 32] * q[i] + offset[i / 32].
struct Superblock {
  std::uint8_t q[kSuperblockInputs];
  float scale[kSuperblockGroups];
  float offset[kSuperblockGroups];
};

float half_at(const std::byte* p) {
  std::uint16_t bits;
  std::memcpy(&bits, p, sizeof(bits));
  return f16_to_f32(bits);
}

// 16 bytes of nibbles: the low ones are values 0..15, the high ones 16..31.
void unpack_nibbles(const std::byte* bytes, std::uint8_t* q) {
  for (int i = 0; i < 16; ++i) q[i] = std::to_integer<std::uint8_t>(bytes[i]) & 15;
  for (int i = 0; i < 16; ++i) q[16 + i] = std::to_integer<std::uint8_t>(bytes[i]) >> 4;
}
// Bit i of the 32 becomes bit 4 of value i.
void add_fifth_bits(const std::byte* bytes, std::uint8_t* q) {
  std::uint32_t bits;
  std::memcpy(&bits, bytes, sizeof(bits));
  for (int i = 0; i < 32; ++i) q[i] |= static_cast<std::uint8_t>((bits >> i & 1u) << 4);
}

// Formats: tensor/dequantize.cc. The types of 32 values a block differ in what a block begins with.
struct BlockFormat {
  int bytes;
  bool has_minimum;
  bool has_fifth_bits;
};
BlockFormat block_format(DType dtype) {
  switch (dtype) {
    case DType::kQ4_1:
      return {20, true, false};
    case DType::kQ5_0:
      return {22, false, true};
    case DType::kQ5_1:
      return {24, true, true};
    default:
      return {18, false, false};
  }
}

void unpack_blocks(DType dtype, const std::byte* src, int num_blocks, Superblock& out) {
  const BlockFormat format = block_format(dtype);
  const float middle = format.has_fifth_bits ? 16.0f : 8.0f;
  for (int g = 0; g < num_blocks; ++g, src += format.bytes) {
    const std::byte* next = src + 2;
    out.scale[g] = half_at(src);
    out.offset[g] = -middle * out.scale[g];
    if (format.has_minimum) {
      out.offset[g] = half_at(next);
      next += 2;
    }
    std::uint8_t* q = out.q + g * kGroupInputs;
    unpack_nibbles(format.has_fifth_bits ? next + 4 : next, q);
    if (format.has_fifth_bits) add_fifth_bits(next, q);
  }
}

// Q4_K, or Q5_K with 32 bytes of fifth bits before the nibbles.
void unpack_k(DType dtype, const std::byte* src, Superblock& out) {
  const bool has_fifth_bits = dtype == DType::kQ5_K;
  const float d = half_at(src);
  const float d_minimum = half_at(src + 2);
  const std::byte* packed = src + 4;
  const std::byte* fifth = src + 16;
  const std::byte* nibbles = has_fifth_bits ? src + 48 : src + 16;
  const auto byte = [packed](int i) { return std::to_integer<int>(packed[i]); };
  for (int g = 0; g < kSuperblockGroups; ++g) {
    int scale = byte(g) & 63;
    int minimum = byte(g + 4) & 63;
    if (g >= 4) {
      scale = (byte(g + 4) & 15) | (byte(g - 4) >> 6) << 4;
      minimum = (byte(g + 4) >> 4) | (byte(g) >> 6) << 4;
    }
    out.scale[g] = d * static_cast<float>(scale);
    out.offset[g] = -(d_minimum * static_cast<float>(minimum));
    std::uint8_t* q = out.q + g * kGroupInputs;
    const std::byte* bytes = nibbles + g / 2 * 32;
    const int shift = g % 2 * 4;
    for (int i = 0; i < 32; ++i) q[i] = std::to_integer<std::uint8_t>(bytes[i]) >> shift & 15;
    if (!has_fifth_bits) continue;
    for (int i = 0; i < 32; ++i) q[i] |= (std::to_integer<std::uint8_t>(fifth[i]) >> g & 1) << 4;
  }
}

// Superblock `index` of a row; groups beyond its end are zeros.
void unpack(DType dtype, const std::byte* row, int num_inputs, int index, Superblock& out) {
  out = {};
  if (row == nullptr) return;
  const DTypeInfo& type = dtype_info(dtype);
  const int first = index * kSuperblockInputs;
  const std::byte* src = row + first / type.block_size * type.block_bytes;
  if (type.block_size == kSuperblockInputs) {
    unpack_k(dtype, src, out);
  } else {
    const int count = std::min(num_inputs - first, kSuperblockInputs);
    unpack_blocks(dtype, src, count / kGroupInputs, out);
  }
}

// The 16 superblocks of a record, which have `q` as [16][256].
struct Quants {
  std::uint8_t q[kRecordOutputs][kSuperblockInputs];
};

void store_low_bits(const Quants& quants, std::uint8_t (&out)[8][4][kQuarterInputs]) {
  for (int pair = 0; pair < 8; ++pair) {
    const std::uint8_t* low = quants.q[2 * pair];
    const std::uint8_t* high = quants.q[2 * pair + 1];
    std::uint8_t* bytes = out[pair][0];
    for (int i = 0; i < kSuperblockInputs; ++i) {
      bytes[i] = static_cast<std::uint8_t>((low[i] & 15) | (high[i] << 4));
    }
  }
}

void store_fifth_bits(const Quants& quants, std::uint64_t (&out)[kRecordOutputs][4]) {
  for (int n = 0; n < kRecordOutputs; ++n) {
    for (int quarter = 0; quarter < 4; ++quarter) {
      const std::uint8_t* q = quants.q[n] + quarter * kQuarterInputs;
      std::uint64_t bits = 0;
      for (int byte = 0; byte < 8; ++byte) {
        // Bit 4 of eight bytes, gathered into the top byte by one multiplication.
        std::uint64_t eight;
        std::memcpy(&eight, q + 8 * byte, sizeof(eight));
        const std::uint64_t ones = eight >> 4 & 0x0101010101010101u;
        bits |= (ones * 0x0102040810204080u >> 56) << (8 * byte);
      }
      out[n][quarter] = bits;
    }
  }
}

// D and the codes of one output.
float store_codes(const Superblock& block, float middle, std::int8_t (&codes)[kSuperblockGroups]) {
  float largest = 0.0f;
  for (const float scale : block.scale) largest = std::max(largest, std::fabs(middle * scale));
  const float d = largest / kLargestInt8;
  for (int g = 0; g < kSuperblockGroups; ++g) {
    const float code = d > 0.0f ? middle * block.scale[g] / d : 0.0f;
    codes[g] = static_cast<std::int8_t>(std::lrintf(std::clamp(code, -127.0f, 127.0f)));
  }
  return d;
}

template <typename Record>
void pack_weights(const QuantizedWeights& job) {
  constexpr float kMiddle = 1 << (Record::kBits - 1);
  auto* records = reinterpret_cast<Record*>(job.panel);
  const bool has_offsets = int8_has_offsets(job.dtype);
  auto* offsets = reinterpret_cast<std::uint16_t*>(
      job.panel + int8_records_bytes(Record::kBits, job.num_inputs));
  if (has_offsets) std::fill_n(offsets, panel_values(num_groups(job.num_inputs)), std::uint16_t{0});
  Superblock block;
  Quants quants;
  for (int index = 0; index < num_superblocks(job.num_inputs); ++index) {
    for (int half = 0; half < 2; ++half, ++records) {
      for (int i = 0; i < kRecordOutputs; ++i) {
        const int n = half * kRecordOutputs + i;
        unpack(job.dtype, job.rows[n], job.num_inputs, index, block);
        std::memcpy(quants.q[i], block.q, sizeof(block.q));
        records->scale[i] = store_codes(block, kMiddle, records->codes[i]);
        if (!has_offsets) continue;
        for (int g = 0; g < kSuperblockGroups; ++g) {
          const float c = std::fmaf(kMiddle, block.scale[g], block.offset[g]);
          offsets[panel_index(n, index * kSuperblockGroups + g)] = round_to_bf16(c);
        }
      }
      store_low_bits(quants, records->quants);
      if constexpr (Record::kBits == 5) store_fifth_bits(quants, records->fifth_bits);
    }
  }
}

template <typename Record>
void unpack_row(DType dtype, const std::byte* panel, int n, int num_inputs, float* row) {
  constexpr int kMiddle = 1 << (Record::kBits - 1);
  const auto* records = reinterpret_cast<const Record*>(panel) + n / kRecordOutputs;
  const auto* offsets =
      reinterpret_cast<const std::uint16_t*>(panel + int8_records_bytes(Record::kBits, num_inputs));
  const int i = n % kRecordOutputs;
  for (int k = 0; k < num_inputs; ++k) {
    const Record& record = records[k / kSuperblockInputs * 2];
    const int input = k % kSuperblockInputs;
    const std::int8_t code = record.codes[i][input / kGroupInputs];
    const auto steps = static_cast<float>(code * (int8_quant(record, i, input) - kMiddle));
    const float offset =
        int8_has_offsets(dtype) ? bf16_to_float(offsets[panel_index(n, k / kGroupInputs)]) : 0.0f;
    row[k] = std::fmaf(record.scale[i] / kMiddle, steps, offset);
  }
}

}  // namespace

bool int8_takes(DType dtype) {
  switch (dtype) {
    case DType::kQ4_0:
    case DType::kQ4_1:
    case DType::kQ5_0:
    case DType::kQ5_1:
    case DType::kQ4_K:
    case DType::kQ5_K:
      return true;
    default:
      return false;
  }
}

int int8_bits(DType dtype) {
  return dtype == DType::kQ5_0 || dtype == DType::kQ5_1 || dtype == DType::kQ5_K ? 5 : 4;
}

bool int8_has_offsets(DType dtype) { return dtype != DType::kQ4_0 && dtype != DType::kQ5_0; }

std::size_t int8_panel_bytes(DType dtype, int num_inputs) {
  const std::size_t offsets =
      int8_has_offsets(dtype) ? panel_values(num_groups(num_inputs)) * sizeof(std::uint16_t) : 0;
  return int8_records_bytes(int8_bits(dtype), num_inputs) + offsets;
}

void int8_pack_weights(const QuantizedWeights& job) {
  if (int8_bits(job.dtype) == 4) {
    pack_weights<Int8Record4>(job);
  } else {
    pack_weights<Int8Record5>(job);
  }
}

void int8_unpack_row(DType dtype, const std::byte* panel, int n, int num_inputs, float* row) {
  if (int8_bits(dtype) == 4) {
    unpack_row<Int8Record4>(dtype, panel, n, num_inputs, row);
  } else {
    unpack_row<Int8Record5>(dtype, panel, n, num_inputs, row);
  }
}

}  // namespace tutti::kernels
