// A model without weights, for testing the engine: its logits are a hash of all tokens so far,
// which it reads back from a cache that keeps them where the block tables say. Any mistake in
// blocks, positions or chunks changes the logits.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <span>
#include <stdexcept>
#include <vector>

#include "base/check.h"
#include "base/thread_pool.h"
#include "device/ops.h"
#include "model/description.h"
#include "model/model.h"

namespace tutti::testing {

inline constexpr int kFakeVocabSize = 61;
inline constexpr TokenId kNanToken = 59;    // once it is in a sequence, its logits are NaN
inline constexpr TokenId kThrowToken = 60;  // a forward pass over it throws

// The logits after `prefix`, [kFakeVocabSize] in [-4, 4); never in favour of the two tokens above.
inline std::vector<float> fake_logits(std::span<const TokenId> prefix) {
  std::uint64_t hash = 0x9E3779B97F4A7C15;
  bool is_nan = false;
  const auto mix = [](std::uint64_t x) {
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
    return x ^ (x >> 31);
  };
  for (const TokenId token : prefix) {
    hash = mix(hash + static_cast<std::uint64_t>(token) + 1);
    is_nan |= token == kNanToken;
  }
  std::vector<float> logits(kFakeVocabSize);
  for (int i = 0; i < kFakeVocabSize; ++i) {
    logits[i] = static_cast<float>(mix(hash + 1000 + i) >> 40) * 0x1p-21f - 4.0f;
  }
  logits[kNanToken] = logits[kThrowToken] = -1000;
  if (is_nan) logits[0] = std::numeric_limits<float>::quiet_NaN();
  return logits;
}

class FakeKvCache final : public device::KvCache {
 public:
  explicit FakeKvCache(int num_blocks)
      : tokens(static_cast<std::size_t>(num_blocks) * kBlockSize, -1), num_blocks_(num_blocks) {}
  int num_blocks() const override { return num_blocks_; }
  std::vector<TokenId> tokens;  // by slot

 private:
  const int num_blocks_;
};

// Only its pool and its cache are real: a fake model asks for nothing else.
class FakeOps final : public device::Ops {
 public:
  explicit FakeOps(int num_threads = 2) : pool_(num_threads, false) {}

  device::ComputeClass compute_class() const override { return device::ComputeClass::kF32; }
  device::Isa isa() const override { return device::Isa::kRef; }
  ThreadPool& pool() override { return pool_; }
  Result<std::unique_ptr<device::KvCache>> make_kv_cache(const device::KvShape&,
                                                         int num_blocks) override {
    return std::unique_ptr<device::KvCache>(std::make_unique<FakeKvCache>(num_blocks));
  }
  std::size_t kv_block_bytes(const device::KvShape&) const override {
    return kBlockSize * sizeof(TokenId);
  }

  Result<device::MatrixPtr> make_matrix(const TensorView&, std::span<const std::int32_t>) override {
    return unsupported("a fake has no matrices");
  }
  std::size_t weight_bytes(const TensorView&) const override { return 0; }
  std::size_t owned_bytes(const device::Matrix&) const override { return 0; }
  bool reads_file(const device::Matrix&) const override { return false; }
  void linear(const device::Matrix&, const float*, int, float*, std::span<const float>) override {}
  void linear_group(std::span<const LinearOutput>, const float*, int) override {}
  void add_norm_linear(std::span<const LinearOutput>, const ResidualRows&, int) override {}
  void silu_mul_linear(const LinearOutput&, float*, const float*, int) override {}
  void embed(const device::Matrix&, std::span<const TokenId>, float, float*) override {}
  void rms_norm(const float*, int, int, std::span<const float>, float, float*) override {}
  void rope(float*, std::span<const Position>, int, int, const device::RopeTable&) override {}
  void silu_mul(const float*, const float*, int, int, float*) override {}
  void add_scaled(float*, const float*, float, std::size_t) override {}
  void store_kv(device::KvCache&, int, const float*, const float*,
                std::span<const SlotId>) override {}
  // Called first thing in every copy, on the engine's thread. Set it before the start.
  std::function<void()> on_copy;

  void copy_kv(device::KvCache& cache, BlockId from, BlockId to, int num_positions) override {
    if (on_copy) on_copy();
    auto& slots = static_cast<FakeKvCache&>(cache).tokens;
    std::copy_n(slots.begin() + from.value * kBlockSize, num_positions,
                slots.begin() + to.value * kBlockSize);
  }
  void save_kv(const device::KvCache& cache, BlockId block, std::span<std::byte> bytes) override {
    const auto& slots = static_cast<const FakeKvCache&>(cache).tokens;
    TUTTI_CHECK(bytes.size() == kBlockSize * sizeof(TokenId));
    std::memcpy(bytes.data(), slots.data() + block.value * kBlockSize, bytes.size());
  }
  void load_kv(device::KvCache& cache, BlockId block, std::span<const std::byte> bytes) override {
    auto& slots = static_cast<FakeKvCache&>(cache).tokens;
    TUTTI_CHECK(bytes.size() == kBlockSize * sizeof(TokenId));
    std::memcpy(slots.data() + block.value * kBlockSize, bytes.data(), bytes.size());
  }
  void attention(const device::KvCache&, const device::AttentionArgs&, const float*,
                 float*) override {}

 private:
  ThreadPool pool_;
};

class FakeModel final : public model::Model {
 public:
  explicit FakeModel(int max_positions) {
    description_.vocab_size = kFakeVocabSize;
    description_.max_positions = max_positions;
  }

  // Called first thing in every forward pass, on the engine's thread. Set it before the start.
  std::function<void(std::span<const model::BatchSequence>)> on_forward;

  const model::ModelDescription& description() const override { return description_; }
  device::KvShape kv_shape() const override { return {1, 1, 1}; }
  std::size_t owned_bytes() const override { return 0; }
  std::size_t mapped_bytes() const override { return 0; }
  std::size_t scratch_bytes(int, int) const override { return 0; }

  std::span<const float> forward(std::span<const model::BatchSequence> batch,
                                 device::KvCache& cache) override {
    if (on_forward) on_forward(batch);
    auto& slots = static_cast<FakeKvCache&>(cache).tokens;
    logits_.clear();
    check_sharing(batch);
    for (const model::BatchSequence& sequence : batch) store(sequence, slots);
    for (const model::BatchSequence& sequence : batch) append_logits(sequence, slots);
    return logits_;
  }

 private:
  // A block that is written is in one table only.
  static void check_sharing(std::span<const model::BatchSequence> batch) {
    std::map<BlockId, int> num_tables;
    for (const model::BatchSequence& sequence : batch) {
      for (const BlockId block : sequence.block_table) ++num_tables[block];
    }
    for (const model::BatchSequence& sequence : batch) {
      const auto begin = static_cast<std::size_t>(sequence.first_position / kBlockSize);
      for (std::size_t i = begin; i < sequence.block_table.size(); ++i) {
        TUTTI_CHECK(num_tables[sequence.block_table[i]] == 1)
            << "block " << sequence.block_table[i].value << " is shared and written";
      }
    }
  }

  static std::size_t slot(const model::BatchSequence& sequence, Position position) {
    TUTTI_CHECK(position / kBlockSize < static_cast<int>(sequence.block_table.size()))
        << "position " << position << " is beyond the block table";
    return static_cast<std::size_t>(sequence.block_table[position / kBlockSize].value) *
               kBlockSize +
           position % kBlockSize;
  }

  static void store(const model::BatchSequence& sequence, std::vector<TokenId>& slots) {
    for (std::size_t i = 0; i < sequence.tokens.size(); ++i) {
      if (sequence.tokens[i] == kThrowToken) throw std::runtime_error("a token that throws");
      slots[slot(sequence, sequence.first_position + static_cast<Position>(i))] =
          sequence.tokens[i];
    }
  }

  void append_logits(const model::BatchSequence& sequence, const std::vector<TokenId>& slots) {
    const int num_positions = sequence.first_position + static_cast<int>(sequence.tokens.size());
    for (int row = sequence.num_logit_rows; row > 0; --row) {
      std::vector<TokenId> prefix;
      for (Position p = 0; p <= num_positions - row; ++p)
        prefix.push_back(slots[slot(sequence, p)]);
      const std::vector<float> logits = fake_logits(prefix);
      logits_.insert(logits_.end(), logits.begin(), logits.end());
    }
  }

  model::ModelDescription description_;
  std::vector<float> logits_;
};

}  // namespace tutti::testing
