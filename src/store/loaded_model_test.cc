#include "store/loaded_model.h"

#include <gtest/gtest.h>

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

}  // namespace
}  // namespace tutti::store
