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
// Every fourth line, 4 KiB ahead: the processor fetches the others. On Zen 4 one row reads so at
// 96-99 % of a read sweep; with every line at 91 % (2 KiB ahead) and 67 % (4 KiB).
constexpr int kPrefetchDistance = 4096;
constexpr int kPrefetchApart = 256;
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
TUTTI_INLINE __m128i packed_order() {
  return _mm_setr_epi8(4, 5, 0, 1, 6, 7, 2, 3, 12, 13, 8, 9, 14, 15, 10, 11);
}
TUTTI_INLINE void store_packed(PackedInput* packed, Vector x) {
  const __m256i values = (__m256i)_mm512_cvtneps_pbh(x.lanes);
  const __m256i order = _mm256_broadcastsi128_si256(packed_order());
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(packed), _mm256_shuffle_epi8(values, order));
}
TUTTI_INLINE void store_packed_normal(PackedInput* packed, Vector low, Vector high) {
  const __m512i values = (__m512i)_mm512_cvtne2ps_pbh(high.lanes, low.lanes);
  _mm512_storeu_si512(packed, _mm512_shuffle_epi8(values, _mm512_broadcast_i64x2(packed_order())));
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

// Four inputs' weights of 32 outputs, by twos of a kind.
struct QuadWeights {
  __m512i even[2], odd[2];
};
TUTTI_INLINE QuadWeights pair_quad(const std::uint16_t* panel, PairOrders orders) {
  QuadWeights quad;
#pragma GCC unroll 2
  for (int t = 0; t < 2; ++t) {
    const __m512i a = _mm512_loadu_si512(panel + 32 * t);
    const __m512i b = _mm512_loadu_si512(panel + 64 + 32 * t);
    quad.even[t] = _mm512_permutex2var_epi16(a, orders.even, b);
    quad.odd[t] = _mm512_permutex2var_epi16(a, orders.odd, b);
  }
  return quad;
}
TUTTI_INLINE QuadWeights load_quad(const std::uint16_t* prepared) {
  return {{_mm512_loadu_si512(prepared), _mm512_loadu_si512(prepared + 32)},
          {_mm512_loadu_si512(prepared + 64), _mm512_loadu_si512(prepared + 96)}};
}
TUTTI_INLINE void store_quad(std::uint16_t* prepared, const QuadWeights& quad) {
#pragma GCC unroll 2
  for (int t = 0; t < 2; ++t) {
    _mm512_storeu_si512(prepared + 32 * t, quad.even[t]);
    _mm512_storeu_si512(prepared + 64 + 32 * t, quad.odd[t]);
  }
}

// A panel that many rows are multiplied with is shuffled once for all of them.
using PreparedValue = std::uint16_t;
constexpr int kFewestPreparedRows = 2 * kRowBlock;

void prepare_panel(const std::uint16_t* panel, std::size_t count, PreparedValue* prepared) {
  const PairOrders orders{pair_order(0), pair_order(1)};
  for (std::size_t i = 0; i < count; i += 4 * kPanelOutputs) {
    store_quad(prepared + i, pair_quad(panel + i, orders));
  }
}

// A lane with the bf16 value `first` in its upper half and `second` in its lower one.
TUTTI_INLINE __m512i lane_of(Vector first, Vector second) {
  const __m512i lower = _mm512_srli_epi32(_mm512_castps_si512(second.lanes), 16);
  return _mm512_or_si512(_mm512_castps_si512(first.lanes), lower);
}
void prepare_bytes(const std::byte* panel, std::size_t count, PreparedValue* prepared) {
  for (std::size_t i = 0; i < count; i += 4 * kPanelOutputs) {
    QuadWeights quad;
#pragma GCC unroll 2
    for (int t = 0; t < 2; ++t) {
      const std::byte* a = panel + i + 32 * t;
      const std::byte* b = a + 64;
      quad.even[t] = lane_of(even_of_byte_pairs(a), even_of_byte_pairs(b));
      quad.odd[t] = lane_of(odd_of_byte_pairs(a), odd_of_byte_pairs(b));
    }
    store_quad(prepared + i, quad);
  }
}

// Rows of sums that a block is added to.
struct BlockSums {
  float* c;
  bool from_zero;
};

// even + odd of one block of inputs, for R rows and 32 outputs, added to c; quad_at(panel) gives
// the weights.
template <int R, typename QuadAt>
TUTTI_INLINE void add_block(const std::uint32_t* x, const std::uint16_t* panel, BlockSums to,
                            const QuadAt& quad_at, PrefetchStream& stream) {
  __m512 even[R][2], odd[R][2];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
    even[r][0] = even[r][1] = odd[r][0] = odd[r][1] = _mm512_setzero_ps();
  }
#pragma GCC unroll 1
  for (int step = 0; step < kQuads; ++step) {
    stream.step();
    const QuadWeights quad = quad_at(panel);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 2
      for (int t = 0; t < 2; ++t) {
        even[r][t] = dot(even[r][t], x[kRowLanes * r], quad.even[t]);
        odd[r][t] = dot(odd[r][t], x[kRowLanes * r + 1], quad.odd[t]);
      }
    }
    x += 2;
    panel += 4 * kPanelOutputs;
  }
  const auto add_to = [&](const auto& old_of) {
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 2
      for (int t = 0; t < 2; ++t) {
        float* sum = to.c + r * kPanelOutputs + 16 * t;
        const __m512 both = _mm512_add_ps(even[r][t], odd[r][t]);
        _mm512_storeu_ps(sum, _mm512_add_ps(old_of(sum), both));
      }
    }
  };
  if (to.from_zero) {
    add_to([](const float*) { return _mm512_setzero_ps(); });
  } else {
    add_to([](const float* sum) { return _mm512_loadu_ps(sum); });
  }
}

struct PanelAndSums {
  const std::uint16_t* panel;
  float* c;
};

template <int R, bool kPrepared>
void multiply_rows(const PanelProduct& job, const std::uint32_t* x, const PanelAndSums& to,
                   PrefetchStream& stream) {
  const PairOrders orders{pair_order(0), pair_order(1)};
  const std::uint16_t* panel = to.panel;
  BlockSums sums{to.c, job.from_zero};
  for (int block = 0; block < job.num_blocks; ++block) {
    if constexpr (kPrepared) {
      add_block<R>(x, panel, sums, load_quad, stream);
    } else {
      const auto quad_at = [orders](const std::uint16_t* quad) { return pair_quad(quad, orders); };
      add_block<R>(x, panel, sums, quad_at, stream);
    }
    sums.from_zero = false;
    x += kRowLanes * R;
    panel += kPanelBlockValues;
  }
}

template <bool kPrepared>
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
      return multiply_rows<1, kPrepared>(job, x, to, stream);
    case 2:
      return multiply_rows<2, kPrepared>(job, x, to, stream);
    case 3:
      return multiply_rows<3, kPrepared>(job, x, to, stream);
    case 4:
      return multiply_rows<4, kPrepared>(job, x, to, stream);
    case 5:
      return multiply_rows<5, kPrepared>(job, x, to, stream);
    default:
      return multiply_rows<6, kPrepared>(job, x, to, stream);
  }
}

template <bool kPrepared>
void multiply_panels(const PanelProduct& job, const std::uint16_t* first_panel) {
  const int row_blocks = (job.num_rows + kRowBlock - 1) / kRowBlock;
  PrefetchStream stream(
      job, static_cast<std::size_t>(job.num_panels) * row_blocks * job.num_blocks * kQuads);
  for (int panel = 0; panel < job.num_panels; ++panel) {
    for (int row = 0; row < job.num_rows; row += kRowBlock) {
      const PanelAndSums to{
          first_panel + panel * job.panel_stride,
          job.c + panel * job.c_stride + static_cast<std::ptrdiff_t>(row) * kPanelOutputs};
      multiply_row_block<kPrepared>(job, row, to, stream);
    }
  }
}

void multiply(const PanelProduct& job) { multiply_panels<false>(job, job.panel); }
// With `prepared` for the panel; strides and blocks count the same.
void multiply_prepared(const PanelProduct& job, const PreparedValue* prepared) {
  multiply_panels<true>(job, prepared);
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
      .prefetch_apart = kPrefetchApart,
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
