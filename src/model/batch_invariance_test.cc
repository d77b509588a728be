// A row's bits depend on its sequence alone: not on chunks, not on company.
#include <gtest/gtest.h>

#include <cstring>

#include "model/golden_support.h"
#include "tests/support/goldens.h"

namespace tutti::model {
namespace {

using testing::LoadedModel;

std::vector<TokenId> random_tokens(std::mt19937& random, int count, int vocab_size) {
  std::uniform_int_distribution<TokenId> any_token(0, vocab_size - 1);
  std::vector<TokenId> tokens;
  for (int i = 0; i < count; ++i) tokens.push_back(any_token(random));
  return tokens;
}

struct Progress {
  std::vector<TokenId> tokens;
  std::vector<BlockId> block_table;
  std::size_t num_computed = 0;
  std::vector<float> logits;  // of all rows so far

  std::size_t num_left() const { return tokens.size() - num_computed; }
};

// One step over a random choice of the sequences, each with a chunk of random length.
void run_random_step(LoadedModel& loaded, std::vector<Progress>& sequences, std::mt19937& random) {
  std::vector<BatchSequence> batch;
  std::vector<Progress*> members;
  for (Progress& sequence : sequences) {
    if (sequence.num_left() == 0 || random() % 3 == 0) continue;
    const std::size_t chunk = std::min<std::size_t>(sequence.num_left(), 1 + random() % 17);
    batch.push_back({.tokens = std::span(sequence.tokens).subspan(sequence.num_computed, chunk),
                     .first_position = static_cast<Position>(sequence.num_computed),
                     .block_table = sequence.block_table,
                     .num_logit_rows = static_cast<int>(chunk)});
    members.push_back(&sequence);
  }
  const std::vector<float> logits = loaded.forward(batch);
  auto next = logits.begin();
  for (std::size_t i = 0; i < batch.size(); ++i) {
    const auto count = static_cast<std::ptrdiff_t>(batch[i].tokens.size()) * loaded.vocab_size();
    members[i]->logits.insert(members[i]->logits.end(), next, next + count);
    members[i]->num_computed += batch[i].tokens.size();
    next += count;
  }
}

void expect_same_bits_in_company(const std::string& name, const device::Ops::Options& options) {
  SCOPED_TRACE(name + " " + device::to_string(options.isa));
  auto loaded = LoadedModel::load(tutti::testing::golden_path(name), options);
  ASSERT_TRUE(loaded.ok()) << loaded.status().message();
  std::mt19937 random(11);
  std::vector<Progress> sequences;
  for (const int length : {1, 2, 31, 32, 33, 64, 77}) {
    Progress sequence;
    sequence.tokens = random_tokens(random, length, (*loaded)->vocab_size());
    sequence.block_table = (*loaded)->take_blocks(length);
    sequences.push_back(std::move(sequence));
  }
  const auto unfinished = [](const Progress& sequence) { return sequence.num_left() > 0; };
  while (std::ranges::any_of(sequences, unfinished)) {
    run_random_step(**loaded, sequences, random);
  }
  for (const Progress& sequence : sequences) {
    const std::vector<float> alone = (*loaded)->logits_of(sequence.tokens);
    ASSERT_EQ(alone.size(), sequence.logits.size());
    EXPECT_EQ(std::memcmp(alone.data(), sequence.logits.data(), alone.size() * sizeof(float)), 0)
        << "a sequence of " << sequence.tokens.size() << " tokens";
  }
}

// Windows, projection norms, biases, fused weights, scaled queries, layers without rope.
const std::string kModels[] = {"mistral",       "olmo3",      "qwen2",
                               "phi3-longrope", "ministral3", "smollm3"};

TEST(BatchInvariance, ReferenceGivesTheSameBitsInCompany) {
  for (const std::string& name : kModels) {
    expect_same_bits_in_company(
        "models/" + name,
        {.compute_class = device::ComputeClass::kF32, .isa = device::Isa::kRef, .num_threads = 2});
  }
}

TEST(BatchInvariance, Bf16GivesTheSameBitsInCompanyOnEveryIsa) {
  for (const device::Isa isa : device::available_isas()) {
    for (const std::string& name : kModels) {
      expect_same_bits_in_company("models/" + name, {.isa = isa, .num_threads = 2});
    }
  }
}

TEST(BatchInvariance, Int8CacheGivesTheSameBitsInCompany) {
  for (const std::string name : {"mistral", "qwen2", "smollm3"}) {
    expect_same_bits_in_company("models/" + name, {.isa = device::available_isas().back(),
                                                   .num_threads = 2,
                                                   .kv_dtype = device::KvDtype::kInt8});
  }
}

// Quantised models, in the classes made for their weights.
TEST(BatchInvariance, IntegerClassesGiveTheSameBitsInCompanyOnEveryIsa) {
  for (const device::ComputeClass compute_class :
       {device::ComputeClass::kInt8, device::ComputeClass::kQ8}) {
    for (const device::Isa isa : device::available_isas()) {
      for (const std::string name : {"llama-Q4_0.gguf", "llama-Q4_K.gguf", "llama-Q5_1.gguf",
                                     "llama-Q6_K.gguf", "llama-Q8_0.gguf"}) {
        expect_same_bits_in_company("gguf/" + name,
                                    {.compute_class = compute_class, .isa = isa, .num_threads = 2});
      }
    }
  }
}

TEST(BatchInvariance, LogitsOnlyForTheRowsAskedFor) {
  auto loaded = LoadedModel::load(tutti::testing::golden_path("models/smollm3"), {});
  ASSERT_TRUE(loaded.ok()) << loaded.status().message();
  std::mt19937 random(3);
  const auto vocab_size = static_cast<std::size_t>((*loaded)->vocab_size());
  const std::vector<TokenId> tokens = random_tokens(random, 40, (*loaded)->vocab_size());
  const std::vector<float> all = (*loaded)->logits_of(tokens);
  const std::vector<BlockId> first_table = (*loaded)->take_blocks(40);
  const std::vector<BlockId> second_table = (*loaded)->take_blocks(40);
  const BatchSequence batch[] = {
      {.tokens = tokens, .block_table = first_table, .num_logit_rows = 0},
      {.tokens = tokens, .block_table = second_table, .num_logit_rows = 1}};
  const std::vector<float> last = (*loaded)->forward(batch);
  ASSERT_EQ(last.size(), vocab_size);
  EXPECT_TRUE(std::equal(last.begin(), last.end(), all.end() - static_cast<long>(vocab_size)));
}

}  // namespace
}  // namespace tutti::model
