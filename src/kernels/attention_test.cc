// Attention of every table against the scalar law, bit for bit, and the law against double
// arithmetic.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <span>
#include <tuple>

#include "kernels/float_mode.h"
#include "kernels/kernel_table.h"
#include "kernels/kv_page.h"
#include "kernels/op_cases.h"
#include "kernels/testing/aligned.h"
#include "kernels/testing/random_data.h"
#include "kernels/testing/same_bits.h"
#include "kernels/testing/tables.h"

namespace tutti::kernels {
namespace {

class Attention : public ::testing::TestWithParam<NamedTable> {
 protected:
  const KernelTable& table() const { return *GetParam().table; }
  const KernelTable& law() const { return ref_kernels(); }
  std::mt19937 random_{20240608};
  ScopedFlushDenormals flush_;
};

// Keys and values of one head over shuffled blocks, and queries.
struct AttentionInput {
  AttentionInput(const AttentionCase& shape, PageType type, std::mt19937& random)
      : shape(shape), type(type), last(shape.first_position + shape.num_rows - 1) {
    const int num_pages = last / kBlockSize + 1;
    for (int i = 0; i < num_pages; ++i) block_table.emplace_back(i + 2);
    std::shuffle(block_table.begin(), block_table.end(), random);
    pages = aligned<std::byte>((num_pages + 2) * 2 * bytes_of_page());
    for (Position p = 0; p <= last; ++p) {
      const auto key = random_floats(shape.head_dim, random);
      const auto value = random_floats(shape.head_dim, random);
      PageRow row{type, pages.get() + block_table[p / kBlockSize].value * 2 * bytes_of_page(),
                  p % kBlockSize};
      store_key(row, key.data(), shape.head_dim);
      row.page += bytes_of_page();
      store_value(row, value.data(), shape.head_dim);
      keys.push_back(key);
      values.push_back(value);
    }
    row_values = shape.group * shape.head_dim;
    q = random_floats(static_cast<std::size_t>(shape.num_rows) * row_values, random);
  }

  std::size_t bytes_of_page() const { return page_bytes(type, shape.head_dim); }
  AttentionRows rows(int first_row, int num_rows, float* out) const {
    return {.block_table = block_table.data(),
            .first_position = shape.first_position + first_row,
            .num_positions = num_rows,
            .q = q.data() + first_row * row_values,
            .out = out + first_row * row_values};
  }
  AttentionJob job(std::span<const AttentionRows> sequences) const {
    return {.page_type = type,
            .pages = pages.get(),
            .value_offset = bytes_of_page(),
            .block_stride = 2 * bytes_of_page(),
            .head_dim = shape.head_dim,
            .group = shape.group,
            .scale = 0.125f,
            .sliding_window = shape.sliding_window,
            .row_stride = row_values,
            .sequences = sequences.data(),
            .num_sequences = static_cast<int>(sequences.size())};
  }

  // Rows [first_row, first_row + num_rows) at once.
  void run(const KernelTable& table, int first_row, int num_rows, float* out) const {
    const AttentionRows sequence = rows(first_row, num_rows, out);
    const auto scratch = aligned<std::byte>(attention_scratch_bytes());
    table.attention(job({&sequence, 1}), scratch.get());
  }

  // The same with the chunks [0, cut) and the rest apart, merged.
  void run_in_parts(const KernelTable& table, int num_rows, int cut, float* out) const {
    const AttentionRows sequence = rows(0, num_rows, out);
    const int chunks = (shape.first_position + num_rows - 1) / kAttentionChunk + 1;
    const std::size_t chunk_floats = num_rows * shape.group * partial_floats(shape.head_dim);
    const auto partials = aligned<float>(chunks * chunk_floats);
    const auto scratch = aligned<std::byte>(attention_scratch_bytes());
    AttentionJob part = job({&sequence, 1});
    for (const auto& [first, end] : {std::pair{0, cut}, std::pair{cut, chunks}}) {
      part.partials = partials.get() + first * chunk_floats;
      part.first_chunk = first;
      part.last_chunk = end;
      table.attention(part, scratch.get());
    }
    for (int row = 0; row < num_rows * shape.group; ++row) {
      table.merge_attention({partials.get() + row * partial_floats(shape.head_dim),
                             static_cast<std::ptrdiff_t>(chunk_floats), chunks, shape.head_dim,
                             out + row * shape.head_dim});
    }
  }

  AttentionCase shape;
  PageType type;
  Position last;
  int row_values;
  std::vector<BlockId> block_table;
  Aligned<std::byte> pages;
  std::vector<std::vector<float>> keys, values;
  std::vector<float> q;
};

// The last rows of every case, in groups as large as they may be.
TEST_P(Attention, HasTheBitsOfTheLaw) {
  for (AttentionCase shape : kAttentionCases) {
    const int rows_at_once = kMaxAttentionRows / shape.group;
    const int kept = std::min(shape.num_rows, 2 * rows_at_once + 1);
    shape.first_position += shape.num_rows - kept;
    shape.num_rows = kept;
    for (const PageType type : {PageType::kBf16, PageType::kInt8}) {
      const AttentionInput input(shape, type, random_);
      std::vector<float> expected(input.q.size()), actual(input.q.size());
      for (int row = 0; row < kept; ++row) input.run(law(), row, 1, expected.data());
      for (int row = 0; row < kept; row += rows_at_once) {
        input.run(table(), row, std::min(rows_at_once, kept - row), actual.data());
      }
      EXPECT_TRUE(same_bits(expected.data(), actual.data(), expected.size()))
          << shape.name << (type == PageType::kInt8 ? " int8" : " bf16");
    }
  }
}

AttentionCase random_attention_case(std::mt19937& random, int round) {
  return {"random",
          1,
          1 + static_cast<int>(random() % 9),
          static_cast<int>(8 * (1 + random() % 32)),
          1,
          static_cast<int>(random() % 600),
          1 + static_cast<int>(random() % 60),
          round % 2 == 0 ? 0 : 1 + static_cast<int>(random() % 300)};
}

TEST_P(Attention, OfAnyGroupingHasTheBitsOfTheLaw) {
  for (int round = 0; round < 24; ++round) {
    const AttentionCase shape = random_attention_case(random_, round);
    const AttentionInput input(shape, round % 3 == 0 ? PageType::kInt8 : PageType::kBf16, random_);
    std::vector<float> expected(input.q.size()), actual(input.q.size());
    for (int row = 0; row < shape.num_rows; ++row) input.run(law(), row, 1, expected.data());
    for (int row = 0; row < shape.num_rows;) {
      const int most = std::min(kMaxAttentionRows / shape.group, shape.num_rows - row);
      const int rows = 1 + static_cast<int>(random_() % most);
      input.run(table(), row, rows, actual.data());
      row += rows;
    }
    ASSERT_TRUE(same_bits(expected.data(), actual.data(), expected.size()))
        << "group " << shape.group << " head_dim " << shape.head_dim << " first "
        << shape.first_position << " rows " << shape.num_rows << " window " << shape.sliding_window;
  }
}

TEST_P(Attention, InPartsHasTheBitsOfTheWhole) {
  for (int round = 0; round < 12; ++round) {
    AttentionCase shape = random_attention_case(random_, round);
    shape.num_rows = std::min(shape.num_rows, kMaxAttentionRows / shape.group);
    const AttentionInput input(shape, round % 3 == 0 ? PageType::kInt8 : PageType::kBf16, random_);
    std::vector<float> expected(input.q.size());
    input.run(law(), 0, shape.num_rows, expected.data());
    const int chunks = input.last / kAttentionChunk + 1;
    for (const KernelTable* each : {&law(), &table()}) {
      for (int cut = 0; cut <= chunks; ++cut) {
        std::vector<float> actual(input.q.size());
        input.run_in_parts(*each, shape.num_rows, cut, actual.data());
        ASSERT_TRUE(same_bits(expected.data(), actual.data(), expected.size()))
            << "cut at " << cut << " of " << chunks;
      }
    }
  }
}

// Sequences whose tables begin with the same blocks, in one job: each with the bits that it has
// alone.
TEST_P(Attention, OverACommonPrefixHasTheBitsOfEachSequenceAlone) {
  for (int round = 0; round < 12; ++round) {
    const AttentionCase shape{"common",
                              1,
                              1 + static_cast<int>(random_() % 5),
                              static_cast<int>(8 * (1 + random_() % 32)),
                              1,
                              400 + static_cast<int>(random_() % 300),
                              2,
                              round % 3 == 2 ? 100 + static_cast<int>(random_() % 400) : 0};
    AttentionInput input(shape, round % 2 == 0 ? PageType::kBf16 : PageType::kInt8, random_);
    // A table's first pages and then others, in another order.
    const int num_pages = static_cast<int>(input.block_table.size());
    const int common = 1 + static_cast<int>(random_() % 11);
    std::vector<std::vector<BlockId>> tables;
    std::vector<AttentionRows> alone;
    std::vector<float> expected(4 * input.q.size()), actual(4 * input.q.size());
    for (int i = 0; i < 4; ++i) {
      tables.push_back(input.block_table);
      std::shuffle(tables.back().begin() + common, tables.back().end(), random_);
    }
    for (int i = 0; i < 4; ++i) {
      AttentionRows rows = input.rows(0, 1 + i % 2, expected.data() + i * input.q.size());
      rows.block_table = tables[i].data();
      rows.first_position = common * kBlockSize +
                            static_cast<int>(random_() % ((num_pages - common) * kBlockSize - 1));
      alone.push_back(rows);
    }
    const auto scratch = aligned<std::byte>(attention_scratch_bytes());
    for (const AttentionRows& rows : alone) law().attention(input.job({&rows, 1}), scratch.get());
    std::vector<AttentionRows> together = alone;
    for (int i = 0; i < 4; ++i) together[i].out = actual.data() + i * input.q.size();
    for (const KernelTable* each : {&law(), &table()}) {
      AttentionJob job = input.job(together);
      job.num_common_pages = common;
      std::fill(actual.begin(), actual.end(), 0.0f);
      each->attention(job, scratch.get());
      ASSERT_TRUE(same_bits(expected.data(), actual.data(), expected.size()))
          << common << " common pages of " << num_pages << ", window " << shape.sliding_window;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Tables, Attention, ::testing::ValuesIn(tables_under_test()),
                         [](const auto& info) { return info.param.name; });
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(Attention);

TEST(AttentionLaw, IsNearDoubleArithmetic) {
  const ScopedFlushDenormals flush;
  std::mt19937 random(7);
  for (const auto& [window, type, bound] : {std::tuple{0, PageType::kBf16, 0.005},
                                            {70, PageType::kBf16, 0.005},
                                            {0, PageType::kInt8, 0.02},
                                            {70, PageType::kInt8, 0.02}}) {
    const AttentionCase shape{"law", 1, 2, 64, 1, 200, 5, window};
    const AttentionInput input(shape, type, random);
    std::vector<float> actual(input.q.size());
    for (int row = 0; row < shape.num_rows; ++row) {
      input.run(ref_kernels(), row, 1, actual.data());
    }
    std::vector<double> exact;
    for (int row = 0; row < shape.num_rows; ++row) {
      for (int head = 0; head < shape.group; ++head) {
        const float* q = input.q.data() + (row * shape.group + head) * shape.head_dim;
        const Position last = shape.first_position + row;
        std::vector<double> sums(shape.head_dim, 0.0);
        double total = 0;
        for (Position p = window > 0 ? last - window + 1 : 0; p <= last; ++p) {
          double score = 0;
          for (int d = 0; d < shape.head_dim; ++d) score += double{q[d]} * input.keys[p][d];
          const double weight = std::exp(score * 0.125);
          total += weight;
          for (int d = 0; d < shape.head_dim; ++d) sums[d] += weight * input.values[p][d];
        }
        for (const double sum : sums) exact.push_back(sum / total);
      }
    }
    EXPECT_LT(relative_error(exact, actual.data()), bound) << "window " << window;
  }
}

TEST(Int8Page, RoundsByTheLargestOfTheRowAndMarksWhatIsNotFinite) {
  constexpr int kDim = 40;
  std::mt19937 random(3);
  std::vector<std::byte> page(page_bytes(PageType::kInt8, kDim));
  auto x = random_floats(kDim, random);
  x[7] = -5.0f;
  store_key({PageType::kInt8, page.data(), 9}, x.data(), kDim);
  const float* scales = page_scales(page.data(), kDim);
  EXPECT_EQ(scales[9], 5.0f / 127.0f);
  const auto* bytes = reinterpret_cast<const std::int8_t*>(page.data());
  EXPECT_EQ(bytes[key_index(9, 7)], -127);
  for (int d = 0; d < kDim; ++d) {
    EXPECT_NEAR(bytes[key_index(9, d)] * scales[9], x[d], scales[9] * 0.501) << d;
  }
  const std::vector<float> zeros(kDim, 0.0f);
  store_value({PageType::kInt8, page.data(), 3}, zeros.data(), kDim);
  EXPECT_EQ(scales[3], 0.0f);
  x[1] = INFINITY;
  store_value({PageType::kInt8, page.data(), 4}, x.data(), kDim);
  EXPECT_TRUE(std::isnan(scales[4]));
  EXPECT_EQ(bytes[value_index(4, 7)], 0);
}

}  // namespace
}  // namespace tutti::kernels
