// The int8 class by AVX-512 VNNI.
//
// More rows than kMaxDotRows: lanes are 16 rows of activations + 128, [fours of inputs][16][4], and
// four inputs of a weight are broadcast to them; 128 times the sum of an output's weights is taken
// off. A superblock of a panel is turned into bytes once for all rows. Bound: one VPDPBUSD of 64
// products a cycle (Zen 4); 8 outputs x 48 rows of sums take 24 registers, and four inputs of them
// 24 products beside 3 loads and 8 broadcasts.
//
// Compiled with flags of its own: nothing here may have external linkage but the table.
#include "kernels/cpu/vector_avx512.h"
// The products need the vocabulary above.
#include "kernels/cpu/int8_avx512.h"

namespace tutti::kernels {
namespace {

constexpr int kMaxDotRows = 8;
constexpr int kOutputsAtOnce = 8;

// One superblock of a panel: w8 as [32][256], and 128 times the sum of each output's.
struct Weights {
  std::int8_t* bytes;
  std::int32_t* corrections;
};

template <typename Record>
TUTTI_INLINE void dequantise(const Record& record, const Weights& out) {
  __m512i quads[4];
#pragma GCC unroll 4
  for (int quad = 0; quad < 4; ++quad) {
    prefetch_weights(reinterpret_cast<const char*>(&record) + 576 * quad);
    __m512i sums[4];
#pragma GCC unroll 4
    for (int n = 0; n < 4; ++n) sums[n] = _mm512_setzero_si512();
#pragma GCC unroll 1
    for (int quarter = 0; quarter < 4; ++quarter) {
      __m512i weights[4];
      weights_of_pair(record, kInt8Weights<Record::kBits>, 2 * quad, quarter, weights);
      weights_of_pair(record, kInt8Weights<Record::kBits>, 2 * quad + 1, quarter, weights + 2);
#pragma GCC unroll 4
      for (int n = 0; n < 4; ++n) {
        _mm512_store_si512(
            out.bytes + (4 * quad + n) * kSuperblockInputs + quarter * kQuarterInputs, weights[n]);
        sums[n] =
            _mm512_dpbusd_epi32(sums[n], _mm512_set1_epi8(static_cast<char>(128)), weights[n]);
      }
    }
    quads[quad] = sums_of_quad(sums);
  }
  _mm512_store_si512(out.corrections, sums_of_quads(quads));
}

// P parts of 16 rows times 8 outputs of one superblock.
struct Step {
  const std::int8_t* weights;       // [8][256]
  const std::int32_t* corrections;  // [8]
  const float* scales;              // D, [8]
  const std::int8_t* x;             // P parts, 4096 bytes each
  const float* row_scales;          // da, [P][16]
  float* c;                         // of part 0: [8][16]; parts are 512 floats apart
};
template <int P>
TUTTI_INLINE void multiply_step(const Step& step) {
  __m512i sums[kOutputsAtOnce][P];
#pragma GCC unroll 8
  for (int n = 0; n < kOutputsAtOnce; ++n) {
#pragma GCC unroll 3
    for (int p = 0; p < P; ++p) sums[n][p] = _mm512_set1_epi32(-step.corrections[n]);
  }
#pragma GCC unroll 1
  for (int four = 0; four < kSuperblockInputs / 4; ++four) {
    __m512i x[P];
#pragma GCC unroll 3
    for (int p = 0; p < P; ++p) x[p] = _mm512_load_si512(step.x + 4096 * p + 64 * four);
#pragma GCC unroll 8
    for (int n = 0; n < kOutputsAtOnce; ++n) {
      int four_weights;
      __builtin_memcpy(&four_weights, step.weights + n * kSuperblockInputs + 4 * four, 4);
      const __m512i w = _mm512_set1_epi32(four_weights);
#pragma GCC unroll 3
      for (int p = 0; p < P; ++p) sums[n][p] = _mm512_dpbusd_epi32(sums[n][p], x[p], w);
    }
  }
#pragma GCC unroll 3
  for (int p = 0; p < P; ++p) {
    const __m512 row_scales = _mm512_loadu_ps(step.row_scales + kPartRows * p);
    float* c = step.c + 512 * p;
#pragma GCC unroll 8
    for (int n = 0; n < kOutputsAtOnce; ++n, c += 16) {
      const __m512 factor = _mm512_mul_ps(_mm512_set1_ps(step.scales[n]), row_scales);
      const __m512 sum = _mm512_cvtepi32_ps(sums[n][p]);
      _mm512_store_ps(c, _mm512_fmadd_ps(factor, sum, _mm512_load_ps(c)));
    }
  }
}

// P parts times the 32 outputs of a superblock.
template <int P, typename Record>
void multiply_parts(const Record* records, const Weights& weights, Step step) {
  float* c = step.c;
  for (int n = 0; n < kPanelOutputs; n += kOutputsAtOnce) {
    step.weights = weights.bytes + n * kSuperblockInputs;
    step.corrections = weights.corrections + n;
    step.scales = records[n / kRecordOutputs].scale + n % kRecordOutputs;
    step.c = c + n * kPartRows;
    multiply_step<P>(step);
  }
}

struct Avx512Int8 : TiledPacking<kMaxDotRows, 0x80> {
  static const KernelTable& bf16() { return avx512_kernels(); }

  template <typename Record>
  static void multiply(const Int8Panel& job) {
    const int tiled = tiled_rows(job);
    if (tiled > 0) multiply_tiles<Record>(job, (tiled + kPartRows - 1) / kPartRows);
    if (tiled < job.num_rows) {
      dot_part<Record>(job, job.first_row + tiled, job.num_rows - tiled);
    }
  }

  template <typename Record>
  static void multiply_tiles(const Int8Panel& job, int parts) {
    const Int8Rows& rows = *job.rows;
    const auto* records = reinterpret_cast<const Record*>(job.records);
    auto* bytes = reinterpret_cast<std::int8_t*>(job.scratch);
    alignas(64) std::int32_t corrections[kPanelOutputs];
    const Weights weights{bytes, corrections};
    for (int p = 0; p < parts; ++p) rows_to_columns(job.c + 512 * p);
    for (int block = 0; block < rows.num_superblocks; ++block, records += 2) {
      dequantise(records[0], weights);
      dequantise(records[1],
                 {bytes + kRecordOutputs * kSuperblockInputs, corrections + kRecordOutputs});
      for (int p = 0; p < parts; p += 3) {
        const int row = job.first_row + p * kPartRows;
        Step step{};
        step.x = rows.part(block, row);
        step.row_scales = rows.scales + rows.scale_index(block, row);
        step.c = job.c + 512 * p;
        if (parts - p >= 3) {
          multiply_parts<3>(records, weights, step);
        } else if (parts - p == 2) {
          multiply_parts<2>(records, weights, step);
        } else {
          multiply_parts<1>(records, weights, step);
        }
      }
    }
    for (int p = 0; p < parts; ++p) columns_to_rows(job.c + 512 * p);
  }
};

}  // namespace

const QuantizedKernels& avx512vnni_int8_kernels() {
  static constexpr QuantizedKernels kKernels = make_int8_kernels<Avx512Int8>();
  return kKernels;
}

}  // namespace tutti::kernels
