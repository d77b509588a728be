// The bf16 class by AVX512-BF16: VDPBF16PS does two multiply-adds a lane, twice the rate of f32.
//
// One lane of VDPBF16PS adds the product of its upper halves, then that of its lower halves, each
// fused (c = fma(low, low, fma(high, high, c))). The law keeps the sums of even and of odd inputs
// apart, so a lane must pair two inputs of one kind, the earlier one in its upper half: (0, 2),
// (1, 3), (4, 6), (5, 7) ... A panel's lanes pair (0, 1), (2, 3); two shuffles of two registers
// make one kind from the other. That the processor sums in this order is no promise of the
// manual's, so device/isa.cc tries it before it takes this table.
//
// Compiled with flags of its own: nothing here may have external linkage but the table.
#include "kernels/cpu/limit_loop.h"
#include "kernels/cpu/vector_avx512.h"
#include "kernels/kernel_table.h"
#include "kernels/limit_loops.h"
#include "kernels/panel.h"

namespace tutti::kernels {
namespace {

constexpr int kRowBlock = 6;
// Of 1, 2, 4, 8 and 16 KiB, 1 and 2 read fastest on Zen 4.
constexpr int kPrefetchDistance = 2048;
constexpr int kQuads = kBlockInputs / 4;     // steps of a block
constexpr int kRowLanes = kBlockInputs / 2;  // 32-bit lanes of a row's block

}  // namespace
}  // namespace tutti::kernels

#include "kernels/cpu/prefetch_stream.h"
#include "kernels/cpu/simd_elementwise.h"

namespace tutti::kernels {
namespace {

// Of four inputs 0, 1, 2, 3 the packed order is 2, 0, 3, 1: a lane with the pair of the two even
// ones, then one with that of the odd ones.
using PackedInput = std::uint16_t;
TUTTI_INLINE void store_packed(PackedInput* packed, Vector x) {
  store_rounded(packed, x);
  const __m256i order = _mm256_setr_epi8(4, 5, 0, 1, 6, 7, 2, 3, 12, 13, 8, 9, 14, 15, 10, 11, 4, 5,
                                         0, 1, 6, 7, 2, 3, 12, 13, 8, 9, 14, 15, 10, 11);
  auto* memory = reinterpret_cast<__m256i*>(packed);
  _mm256_storeu_si256(memory, _mm256_shuffle_epi8(_mm256_loadu_si256(memory), order));
}

}  // namespace
}  // namespace tutti::kernels

#include "kernels/cpu/simd_pack.h"

namespace tutti::kernels {
namespace {

// Indices of 16-bit halves for VPERMT2W over registers a (inputs 0, 1) and b (2, 3): lane i gets
// half `offset` of lane i of b below that of a.
TUTTI_INLINE __m512i pair_order(int offset) {
  alignas(64) std::uint16_t order[32];
  for (int i = 0; i < 16; ++i) {
    order[2 * i] = static_cast<std::uint16_t>(32 + 2 * i + offset);
    order[2 * i + 1] = static_cast<std::uint16_t>(2 * i + offset);
  }
  return _mm512_load_si512(order);
}

struct PairOrders {
  __m512i even, odd;
};

TUTTI_INLINE __m512 dot(__m512 sum, std::uint32_t x, __m512i weights) {
  return _mm512_dpbf16_ps(sum, (__m512bh)_mm512_set1_epi32(static_cast<int>(x)), (__m512bh)weights);
}

// even + odd of one block of inputs, for R rows and 32 outputs, added to c.
template <int R>
TUTTI_INLINE void add_block(const std::uint32_t* x, const std::uint16_t* panel, float* c,
                            PairOrders orders, PrefetchStream& stream) {
  __m512 even[R][2], odd[R][2];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
    even[r][0] = even[r][1] = odd[r][0] = odd[r][1] = _mm512_setzero_ps();
  }
#pragma GCC unroll 1
  for (int quad = 0; quad < kQuads; ++quad) {
    stream.step();
    __m512i even_weights[2], odd_weights[2];
#pragma GCC unroll 2
    for (int t = 0; t < 2; ++t) {
      const __m512i a = _mm512_loadu_si512(panel + 32 * t);
      const __m512i b = _mm512_loadu_si512(panel + 64 + 32 * t);
      even_weights[t] = _mm512_permutex2var_epi16(a, orders.even, b);
      odd_weights[t] = _mm512_permutex2var_epi16(a, orders.odd, b);
    }
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 2
      for (int t = 0; t < 2; ++t) {
        even[r][t] = dot(even[r][t], x[kRowLanes * r], even_weights[t]);
        odd[r][t] = dot(odd[r][t], x[kRowLanes * r + 1], odd_weights[t]);
      }
    }
    x += 2;
    panel += 4 * kPanelOutputs;
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 2
    for (int t = 0; t < 2; ++t) {
      float* sum = c + r * kPanelOutputs + 16 * t;
      const __m512 both = _mm512_add_ps(even[r][t], odd[r][t]);
      _mm512_storeu_ps(sum, _mm512_add_ps(_mm512_loadu_ps(sum), both));
    }
  }
}

struct PanelAndSums {
  const std::uint16_t* panel;
  float* c;
};

template <int R>
void multiply_rows(const PanelProduct& job, const std::uint32_t* x, const PanelAndSums& to,
                   PrefetchStream& stream) {
  const PairOrders orders{pair_order(0), pair_order(1)};
  const std::uint16_t* panel = to.panel;
  for (int block = 0; block < job.num_blocks; ++block) {
    add_block<R>(x, panel, to.c, orders, stream);
    x += kRowLanes * R;
    panel += kPanelBlockValues;
  }
}

void multiply_row_block(const PanelProduct& job, int row, const PanelAndSums& to,
                        PrefetchStream& stream) {
  const int left = job.num_rows - row;
  const int rows = left < kRowBlock ? left : kRowBlock;
  const std::ptrdiff_t row_lanes = static_cast<std::ptrdiff_t>(job.total_blocks) * kRowLanes;
  const std::ptrdiff_t first_lane = static_cast<std::ptrdiff_t>(job.first_block) * kRowLanes;
  const auto* x =
      static_cast<const std::uint32_t*>(job.packed) + row * row_lanes + first_lane * rows;
  switch (rows) {
    case 1:
      return multiply_rows<1>(job, x, to, stream);
    case 2:
      return multiply_rows<2>(job, x, to, stream);
    case 3:
      return multiply_rows<3>(job, x, to, stream);
    case 4:
      return multiply_rows<4>(job, x, to, stream);
    case 5:
      return multiply_rows<5>(job, x, to, stream);
    default:
      return multiply_rows<6>(job, x, to, stream);
  }
}

void multiply(const PanelProduct& job) {
  const int row_blocks = (job.num_rows + kRowBlock - 1) / kRowBlock;
  PrefetchStream stream(
      job, static_cast<std::size_t>(job.num_panels) * row_blocks * job.num_blocks * kQuads);
  for (int panel = 0; panel < job.num_panels; ++panel) {
    for (int row = 0; row < job.num_rows; row += kRowBlock) {
      const PanelAndSums to{
          job.panel + panel * job.panel_stride,
          job.c + panel * job.c_stride + static_cast<std::ptrdiff_t>(row) * kPanelOutputs};
      multiply_row_block(job, row, to, stream);
    }
  }
}

}  // namespace
}  // namespace tutti::kernels

#include "kernels/cpu/simd_attention.h"
#include "kernels/cpu/simd_weights.h"

namespace tutti::kernels {

double dot_loop_avx512_bf16(long rounds) {
  const __m512bh x = (__m512bh)_mm512_set1_epi32(0x3f003f00);
  // Two multiply-adds a lane.
  return run_limit_loop(rounds, _mm512_setzero_ps(), 32,
                        [x](__m512 sum) { return _mm512_dpbf16_ps(sum, x, x); });
}

const KernelTable& avx512_bf16_kernels() {
  static constexpr KernelTable kTable{
      .row_block = kRowBlock,
      .prefetch_distance = kPrefetchDistance,
      .packed_bytes = packed_bytes,
      .pack_rows = pack_rows,
      .multiply = multiply,
      .weights_to_panel = weights_to_panel,
      .attention = attention,
      .merge_attention = merge_attention,
      .rms_norm = rms_norm,
      .rope = rope,
      .silu_mul = silu_mul,
      .add_scaled = add_scaled,
  };
  return kTable;
}

}  // namespace tutti::kernels
