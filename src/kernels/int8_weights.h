// Weights of the int8 class (int8_law.h) as its kernels read them.
//
// A matrix [N, K] is cut into panels of 32 outputs. A panel is [K / 256][2] records, of 16 outputs
// and one superblock each. Within a record two outputs share bytes, and an output's inputs are
// consecutive: a look-up table belongs to an output and a group, so one table serves 32 consecutive
// bytes. For 4 bits a record is 2240 bytes, 35 cache lines, 4.375 bits a weight; for 5 bits 2752.
// After the records of a type with offsets follows a panel of bf16 of the 32 outputs' rows of C.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/int8_law.h"
#include "kernels/panel.h"
#include "kernels/quantized_kernels.h"
#include "tensor/dtype.h"

namespace tutti::kernels {

inline constexpr int kRecordOutputs = 16;
inline constexpr int kQuarterInputs = 64;  // a tile's row, an AVX-512 register

struct alignas(64) Int8Record4 {
  static constexpr int kBits = 4;
  // [pair of outputs][quarter][input]: the low nibble is output 2 i, the high one 2 i + 1.
  std::uint8_t quants[8][4][kQuarterInputs];
  std::int8_t codes[kRecordOutputs][kSuperblockGroups];
  float scale[kRecordOutputs];  // D
};
static_assert(sizeof(Int8Record4) == 2240);

struct alignas(64) Int8Record5 {
  static constexpr int kBits = 5;
  std::uint8_t quants[8][4][kQuarterInputs];
  std::uint64_t fifth_bits[kRecordOutputs][4];  // bit k: input k of the quarter
  std::int8_t codes[kRecordOutputs][kSuperblockGroups];
  float scale[kRecordOutputs];
};
static_assert(sizeof(Int8Record5) == 2752);

// The integer q of input k (0..255) of output n (0..15).
inline int int8_quant(const Int8Record4& record, int n, int k) {
  const int both = record.quants[n / 2][k / kQuarterInputs][k % kQuarterInputs];
  return both >> (n % 2 * 4) & 15;
}
inline int int8_quant(const Int8Record5& record, int n, int k) {
  const int quarter = k / kQuarterInputs;
  const int both = record.quants[n / 2][quarter][k % kQuarterInputs];
  const auto fifth = static_cast<int>(record.fifth_bits[n][quarter] >> (k % kQuarterInputs) & 1u);
  return (both >> (n % 2 * 4) & 15) | fifth << 4;
}

// Whether the class takes the type: Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, Q5_K.
bool int8_takes(DType dtype);
// 4 or 5.
int int8_bits(DType dtype);
// Whether the type's groups have a c of their own.
bool int8_has_offsets(DType dtype);

// Inputs of the matrix C: the groups of whole superblocks.
constexpr int num_groups(int num_inputs) { return num_superblocks(num_inputs) * kSuperblockGroups; }
constexpr std::size_t int8_records_bytes(int bits, int num_inputs) {
  const std::size_t record = bits == 4 ? sizeof(Int8Record4) : sizeof(Int8Record5);
  return static_cast<std::size_t>(num_superblocks(num_inputs)) * 2 * record;
}

// These are QuantizedKernels' functions of the same names; the same for every instruction set.
std::size_t int8_panel_bytes(DType dtype, int num_inputs);
void int8_pack_weights(const QuantizedWeights& job);
// D s (q - z) / z + c: nearer to the file's value than D w8 + c.
void int8_unpack_row(DType dtype, const std::byte* panel, int n, int num_inputs, float* row);

// Always there.
const QuantizedKernels& ref_int8_kernels();
// Only to be called on a machine that has the instructions (device/isa.h).
const QuantizedKernels& avx2_int8_kernels();
const QuantizedKernels& avxvnni_int8_kernels();
const QuantizedKernels& avx512vnni_int8_kernels();  // VNNI and VBMI
const QuantizedKernels& amx_int8_kernels();         // these, and tiles of int8
const QuantizedKernels& neon_int8_kernels();
const QuantizedKernels& neon_dot_int8_kernels();   // dot products
const QuantizedKernels& neon_i8mm_int8_kernels();  // dot products and i8mm

}  // namespace tutti::kernels
