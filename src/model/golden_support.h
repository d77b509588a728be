// Golden models for the tests: reading them, and running a model over sequences.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <memory>
#include <numeric>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "device/ops.h"
#include "formats/model_source.h"
#include "formats/safetensors.h"
#include "model/decoder.h"
#include "model/model.h"

namespace tutti::model::testing {

// Expected values as goldens/README.md describes them.
struct Golden {
  std::vector<TokenId> input_ids;
  std::vector<float> logits;  // [input_ids, vocab_size]
  std::vector<float> hidden_after_layer_0;
  std::vector<TokenId> greedy_ids;
  std::vector<float> greedy_margins;
  double sensitivity = 0;
  double standard_deviation = 0;  // of the logits: the unit of all tolerances
};

template <typename T>
std::vector<T> read_values(const formats::SafetensorsFile& file, std::string_view name) {
  const TensorView* tensor = file.find_tensor(name);
  if (tensor == nullptr) return {};
  std::vector<T> values(tensor->bytes.size() / sizeof(T));
  std::memcpy(values.data(), tensor->bytes.data(), values.size() * sizeof(T));
  return values;
}

inline Golden read_golden(const std::filesystem::path& path) {
  Golden golden;
  const Result<formats::SafetensorsFile> file = formats::SafetensorsFile::open(path);
  if (!file.ok()) {
    ADD_FAILURE() << file.status().message();
    return golden;
  }
  golden.input_ids = read_values<TokenId>(*file, "input_ids");
  golden.logits = read_values<float>(*file, "logits");
  golden.hidden_after_layer_0 = read_values<float>(*file, "hidden_after_layer_0");
  golden.greedy_ids = read_values<TokenId>(*file, "greedy_ids");
  golden.greedy_margins = read_values<float>(*file, "greedy_margins");
  for (const float value : read_values<float>(*file, "sensitivity")) golden.sensitivity = value;
  const auto count = static_cast<double>(golden.logits.size());
  const double mean = std::accumulate(golden.logits.begin(), golden.logits.end(), 0.0) / count;
  double squares = 0;
  for (const float logit : golden.logits) squares += (logit - mean) * (logit - mean);
  golden.standard_deviation = std::sqrt(squares / count);
  return golden;
}

struct Deviation {
  double max = 0;
  double mean = 0;
};

// In units of `unit`. NaN counts as infinitely far.
inline Deviation deviation(std::span<const float> got, std::span<const float> expected,
                           double unit) {
  Deviation result;
  if (got.size() != expected.size() || got.empty()) return {.max = INFINITY, .mean = INFINITY};
  for (std::size_t i = 0; i < got.size(); ++i) {
    const double distance = std::abs(static_cast<double>(got[i]) - expected[i]) / unit;
    result.max = std::isnan(distance) ? INFINITY : std::max(result.max, distance);
    result.mean += distance / static_cast<double>(got.size());
  }
  return result;
}

// A model with its source, operations and a cache whose blocks are handed out in a shuffled order.
class LoadedModel {
 public:
  static Result<std::unique_ptr<LoadedModel>> load(const std::filesystem::path& path,
                                                   const device::Ops::Options& options) {
    auto loaded = std::make_unique<LoadedModel>();
    TUTTI_ASSIGN_OR_RETURN(formats::ModelSource source, formats::ModelSource::open(path));
    loaded->source_ = std::make_unique<formats::ModelSource>(std::move(source));
    TUTTI_ASSIGN_OR_RETURN(loaded->ops_, device::Ops::create(options));
    TUTTI_ASSIGN_OR_RETURN(loaded->model_,
                           DecoderModel::load(*loaded->source_, *loaded->ops_, {}, 0));
    TUTTI_ASSIGN_OR_RETURN(loaded->cache_,
                           loaded->ops_->make_kv_cache(loaded->model_->kv_shape(), kNumBlocks));
    for (int i = 0; i < kNumBlocks; ++i) loaded->free_blocks_.emplace_back(i);
    std::shuffle(loaded->free_blocks_.begin(), loaded->free_blocks_.end(), std::mt19937(7));
    return loaded;
  }

  DecoderModel& model() { return *model_; }
  int vocab_size() const { return model_->description().vocab_size; }

  // Blocks for `num_positions` positions, never handed out again.
  std::vector<BlockId> take_blocks(int num_positions) {
    std::vector<BlockId> table;
    for (int covered = 0; covered < num_positions; covered += kBlockSize) {
      table.push_back(free_blocks_.back());
      free_blocks_.pop_back();
    }
    return table;
  }

  std::vector<float> forward(std::span<const BatchSequence> batch) {
    const std::span<const float> logits = model_->forward(batch, *cache_);
    return {logits.begin(), logits.end()};
  }

  // The logits of every position of a sequence, computed alone and in one step.
  std::vector<float> logits_of(std::span<const TokenId> tokens) {
    const std::vector<BlockId> table = take_blocks(static_cast<int>(tokens.size()));
    const BatchSequence sequence = {
        .tokens = tokens, .block_table = table, .num_logit_rows = static_cast<int>(tokens.size())};
    return forward({&sequence, 1});
  }

  // The greedy continuation by `count` tokens.
  std::vector<TokenId> greedy(std::span<const TokenId> prompt, int count) {
    std::vector<TokenId> tokens(prompt.begin(), prompt.end());
    const std::vector<BlockId> table = take_blocks(static_cast<int>(prompt.size()) + count);
    std::size_t num_computed = 0;
    for (int i = 0; i < count; ++i) {
      const BatchSequence sequence = {.tokens = std::span(tokens).subspan(num_computed),
                                      .first_position = static_cast<Position>(num_computed),
                                      .block_table = table,
                                      .num_logit_rows = 1};
      num_computed = tokens.size();
      const std::vector<float> logits = forward({&sequence, 1});
      const auto best = std::max_element(logits.begin(), logits.end());
      tokens.push_back(static_cast<TokenId>(best - logits.begin()));
    }
    return {tokens.begin() + static_cast<std::ptrdiff_t>(prompt.size()), tokens.end()};
  }

 private:
  static constexpr int kNumBlocks = 128;
  std::unique_ptr<formats::ModelSource> source_;
  std::unique_ptr<device::Ops> ops_;
  std::unique_ptr<DecoderModel> model_;
  std::unique_ptr<device::KvCache> cache_;
  std::vector<BlockId> free_blocks_;
};

// The continuation equals the golden's, up to the first step whose margin does not exceed twice
// the error (in the logits' own unit).
inline void expect_greedy(const Golden& golden, std::span<const TokenId> got, double error) {
  for (std::size_t i = 0; i < golden.greedy_ids.size(); ++i) {
    if (golden.greedy_margins[i] <= 2 * error) return;
    ASSERT_EQ(got[i], golden.greedy_ids[i]) << "greedy step " << i;
  }
}

}  // namespace tutti::model::testing
