// The int8 class by scalar code: the law (int8_law.h) itself, against which the others are tested.
#include <algorithm>
#include <cmath>

#include "kernels/int8_rows.h"

namespace tutti::kernels {
namespace {

void pack_superblock(const float* x, int count, std::int8_t* x8, float* scale) {
  float largest = 0.0f;
  for (int k = 0; k < count; ++k) largest = std::max(largest, std::fabs(x[k]));
  const bool is_zero = largest < kSmallestActivation;
  const float inverse = is_zero ? 0.0f : kLargestInt8 / largest;
  *scale = is_zero ? 0.0f : largest / kLargestInt8;
  for (int k = 0; k < kSuperblockInputs; ++k) {
    x8[k] = k < count && !is_zero ? int8_activation(x[k], inverse) : std::int8_t{0};
  }
}

// Parts hold rows of 256 bytes.
struct RefInt8 {
  static constexpr int kRowBlock = 16;
  static const KernelTable& bf16() { return ref_kernels(); }
  static int last_part_rows(int num_rows) { return num_rows; }

  static void pack_part(const PackRows& job, const Int8Rows& rows, int row) {
    for (int m = row; m < std::min(row + kPartRows, job.num_rows); ++m) {
      for (int block = 0; block < rows.num_superblocks; ++block) {
        const int input = block * kSuperblockInputs;
        std::int8_t* x8 = rows.part(block, m);
        float& scale = rows.scales[rows.scale_index(block, m)];
        pack_superblock(job.x + m * job.row_stride + input,
                        std::min(job.num_inputs - input, kSuperblockInputs), x8, &scale);
        float* sums = rows.sums_of(m);
        for (int g = 0; g < kSuperblockGroups; ++g) {
          int sum = 0;
          for (int k = 0; k < kGroupInputs; ++k) sum += x8[g * kGroupInputs + k];
          sums[block * kSuperblockGroups + g] = static_cast<float>(sum) * scale;
        }
      }
    }
  }

  template <typename Record>
  static void multiply(const Int8Panel& job) {
    const Int8Rows& rows = *job.rows;
    const auto* record = reinterpret_cast<const Record*>(job.records);
    for (int block = 0; block < rows.num_superblocks; ++block) {
      for (int half = 0; half < 2; ++half, ++record) {
        for (int n = 0; n < kRecordOutputs; ++n) {
          int w8[kSuperblockInputs];
          for (int k = 0; k < kSuperblockInputs; ++k) {
            w8[k] = int8_weight(Record::kBits, record->codes[n][k / kGroupInputs],
                                int8_quant(*record, n, k));
          }
          for (int m = 0; m < job.num_rows; ++m) {
            const int row = job.first_row + m;
            const std::int8_t* x8 = rows.part(block, row);
            int sum = 0;
            for (int k = 0; k < kSuperblockInputs; ++k) sum += w8[k] * x8[k];
            const float scale = record->scale[n] * rows.scales[rows.scale_index(block, row)];
            float& c = job.c[m * kPanelOutputs + half * kRecordOutputs + n];
            c = std::fmaf(scale, static_cast<float>(sum), c);
          }
        }
      }
    }
  }
};

}  // namespace

const QuantizedKernels& ref_int8_kernels() {
  static constexpr QuantizedKernels kKernels = make_int8_kernels<RefInt8>();
  return kKernels;
}

}  // namespace tutti::kernels
