#include "store/loaded_model.h"

#include <gtest/gtest.h>

#include "tests/support/goldens.h"

namespace tutti::store {
namespace {

TEST(LoadModel, AContextBeyondTheModelsOwnIsLoweredToIt) {
  LoadOptions options;
  options.model = "demo";
  options.kv_cache_bytes = std::size_t{64} << 20;
  options.max_model_len = 1 << 20;
  const auto model = load_model(options);
  ASSERT_TRUE(model.ok()) << model.status().message();
  EXPECT_EQ((*model)->engine->max_model_len(), (*model)->info.context_length);

  options.max_model_len = 128;
  const auto shorter = load_model(options);
  ASSERT_TRUE(shorter.ok()) << shorter.status().message();
  EXPECT_EQ((*shorter)->engine->max_model_len(), 128);

  options.max_model_len = -1;
  EXPECT_EQ(load_model(options).status().field(), "max_model_len");
}

std::string compute_of(const std::string& model, bool choose_compute_class) {
  LoadOptions options;
  options.model = model;
  options.kv_cache_bytes = std::size_t{64} << 20;
  options.ops.isa = device::available_isas().back();
  options.choose_compute_class = choose_compute_class;
  const auto loaded = load_model(options);
  if (!loaded.ok()) return loaded.status().message();
  const auto& metadata = (*loaded)->info.metadata;
  EXPECT_EQ(metadata.at("tutti.isa").as_string(), device::to_string(options.ops.isa));
  EXPECT_EQ(metadata.at("tutti.compute").as_string(),
            device::to_string((*loaded)->ops->compute_class()));
  return metadata.at("tutti.compute").as_string().c_str();
}

TEST(LoadModel, TheComputeClassIsChosenByTheWeightsAndShown) {
  const std::string small = testing::golden_path("gguf/llama-Q4_0.gguf").string();
  const bool has_amx = device::available_isas().back() == device::Isa::kAmx;
  EXPECT_EQ(compute_of(small, true), has_amx ? "int8" : "q8");
  EXPECT_EQ(compute_of(small, false), "bf16");
  EXPECT_EQ(compute_of("demo", true), "bf16");
  for (const char* file : {"gguf/llama-Q8_0.gguf", "gguf/llama-Q6_K.gguf"}) {
    EXPECT_EQ(compute_of(testing::golden_path(file).string(), true), "q8") << file;
  }
}

}  // namespace
}  // namespace tutti::store
