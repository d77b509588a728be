#include "model/description.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <filesystem>
#include <fstream>

#include "device/ops.h"
#include "formats/model_source.h"
#include "model/model.h"
#include "tests/support/goldens.h"

namespace tutti::model {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
namespace json = boost::json;
namespace fs = std::filesystem;

json::object read_config(const std::string& model) {
  std::ifstream file(tutti::testing::golden_path("models/" + model) / "config.json");
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  return json::parse(text).as_object();
}

// A folder with `config` and the weights of a golden model.
fs::path write_model(const std::string& model, std::string_view config) {
  const fs::path folder = tutti::testing::make_temp_dir();
  std::ofstream(folder / "config.json") << config;
  const fs::path golden = fs::absolute(tutti::testing::golden_path("models/" + model));
  fs::create_symlink(golden / "model.safetensors", folder / "model.safetensors");
  return folder;
}

Result<ModelDescription> describe_text(const std::string& model, std::string_view config) {
  TUTTI_ASSIGN_OR_RETURN(const formats::ModelSource source,
                         formats::ModelSource::open(write_model(model, config)));
  return describe_model(source);
}

Result<ModelDescription> describe(const std::string& model, const json::object& config) {
  return describe_text(model, json::serialize(config));
}

// The description of a golden model with some settings replaced; null takes a setting away.
Result<ModelDescription> describe_with(const std::string& model, const json::object& changes) {
  json::object config = read_config(model);
  for (const auto& [key, value] : changes) config[key] = value;
  return describe(model, config);
}

std::vector<int> windows_of(const ModelDescription& description) {
  std::vector<int> windows;
  for (const LayerDescription& layer : description.layers) windows.push_back(layer.sliding_window);
  return windows;
}

std::vector<int> ropes_of(const ModelDescription& description) {
  std::vector<int> ropes;
  for (const LayerDescription& layer : description.layers) ropes.push_back(layer.rope_index);
  return ropes;
}

TEST(Description, ReadsLlama) {
  const auto description = describe("llama", read_config("llama"));
  ASSERT_TRUE(description.ok()) << description.status().message();
  EXPECT_EQ(description->architecture, "llama");
  EXPECT_EQ(description->vocab_size, 384);
  EXPECT_EQ(description->num_heads, 4);
  EXPECT_EQ(description->num_kv_heads, 2);
  EXPECT_EQ(description->head_dim, 64);
  EXPECT_EQ(description->max_positions, 512);
  EXPECT_EQ(description->eos_token_ids, std::vector<TokenId>{2});
  EXPECT_FALSE(description->tied_embeddings);
}

struct Hostile {
  std::string model;
  json::object changes;
  std::string message;  // a part of it
};

std::vector<Hostile> hostile_configs() {
  const auto huge = std::int64_t{1} << 40;
  return {
      {"llama", {{"num_attention_heads", 0}}, "num_attention_heads is 0, must be in [1, 4096]"},
      {"llama", {{"num_attention_heads", nullptr}}, "num_attention_heads is missing"},
      {"llama", {{"num_hidden_layers", -2}}, "num_hidden_layers is -2, must be in [1, 4096]"},
      {"llama", {{"num_hidden_layers", 2.5}}, "num_hidden_layers must be an integer"},
      {"llama", {{"num_hidden_layers", "2"}}, "num_hidden_layers must be an integer, is string"},
      {"llama", {{"hidden_size", huge}}, "hidden_size is 1099511627776, must be in [1, 1048576]"},
      {"llama", {{"vocab_size", huge}}, "vocab_size is 1099511627776"},
      {"llama", {{"vocab_size", 18446744073709551615u}}, "vocab_size is 9223372036854775807"},
      {"llama", {{"intermediate_size", 1e300}}, "intermediate_size must be an integer"},
      {"llama", {{"max_position_embeddings", 0}}, "max_position_embeddings is 0"},
      {"llama", {{"num_key_value_heads", 3}}, "must be a multiple of num_key_value_heads"},
      {"llama", {{"num_key_value_heads", 8}}, "must be a multiple of num_key_value_heads"},
      {"llama", {{"head_dim", 63}}, "is 63, must be even"},
      {"qwen2", {{"num_attention_heads", 5}}, "must be a multiple of num_attention_heads"},
      {"llama", {{"rope_theta", 0}}, "rope_theta is 0"},
      {"llama", {{"rope_theta", 1e300}}, "rope_theta is 1e+300"},
      {"llama", {{"rms_norm_eps", -1}}, "rms_norm_eps is -1, must be in [0, 1]"},
      {"llama", {{"hidden_act", "gelu"}}, "hidden_act is 'gelu', only 'silu'"},
      {"llama", {{"quantization_config", {{"bits", 4}}}}, "quantization_config is set"},
      {"llama", {{"model_type", "sphinx"}}, "model_type is 'sphinx', an architecture that is not"},
      {"llama", {{"model_type", "a\nb"}}, "a\\x0ab"},
      {"llama", {{"model_type", nullptr}}, "model_type is missing"},
      {"llama", {{"architectures", {"LlamaForSequenceClassification"}}}, "does not generate text"},
      {"llama", {{"eos_token_id", 384}}, "eos_token_id is 384, must be in [0, 383]"},
      {"llama-linear", {{"rope_scaling", {{"type", "linear"}}}}, "rope_scaling.factor is missing"},
      {"llama-linear",
       {{"rope_scaling", {{"type", "linear"}, {"factor", 0}}}},
       "rope_scaling.factor is 0"},
      {"llama-linear", {{"rope_scaling", {{"type", "spiral"}}}}, "'spiral', a scaling"},
      {"llama-linear", {{"rope_scaling", 4}}, "rope_scaling must be an object"},
      {"llama3-rope",
       {{"rope_scaling",
         {{"rope_type", "llama3"},
          {"factor", 8},
          {"low_freq_factor", 4},
          {"high_freq_factor", 4}}}},
       "high_freq_factor is 4, must be greater than low_freq_factor"},
      {"phi3-longrope",
       {{"rope_scaling", {{"type", "longrope"}, {"short_factor", {1.0}}, {"long_factor", {1.0}}}}},
       "short_factor has 1 elements, must have 16"},
      {"phi3-partial", {{"partial_rotary_factor", 0.01}}, "gives 0 rotary dimensions"},
      {"phi3-partial", {{"partial_rotary_factor", 1.5}}, "partial_rotary_factor is 1.5"},
      {"mistral", {{"sliding_window", -1}}, "sliding_window is -1"},
      {"olmo3", {{"layer_types", {"full_attention"}}}, "layer_types has 1 elements, must have 4"},
      {"olmo3",
       {{"layer_types", {"a", "b", "c", "d"}}},
       "layer_types has 'a', which is not supported"},
      {"smollm3", {{"no_rope_layers", {1, 0, 1}}}, "no_rope_layers has 3 elements, must have 2"},
      {"granite", {{"logits_scaling", 0}}, "logits_scaling is 0"},
  };
}

TEST(Description, RefusesHostileConfigs) {
  for (const Hostile& hostile : hostile_configs()) {
    SCOPED_TRACE(hostile.message);
    const auto description = describe_with(hostile.model, hostile.changes);
    ASSERT_FALSE(description.ok());
    EXPECT_THAT(description.status().message(), HasSubstr(hostile.message));
    EXPECT_THAT(description.status().message(), HasSubstr("config.json"));
  }
}

TEST(Description, RefusesANotANumberBase) {
  std::string config = json::serialize(read_config("mistral"));
  const std::string base = "\"rope_theta\":1E4";
  const std::size_t at = config.find(base);
  ASSERT_NE(at, std::string::npos) << config;
  for (const char* value : {"NaN", "Infinity", "1e999", "\"nan\""}) {
    SCOPED_TRACE(value);
    std::string changed = config;
    changed.replace(at, base.size(), std::string("\"rope_theta\":") + value);
    EXPECT_FALSE(describe_text("mistral", changed).ok());
  }
}

TEST(Description, ReadsWindowsOfEveryKind) {
  const auto qwen = describe_with(
      "qwen2", {{"use_sliding_window", true}, {"sliding_window", 9}, {"max_window_layers", 1}});
  ASSERT_TRUE(qwen.ok()) << qwen.status().message();
  EXPECT_THAT(windows_of(*qwen), ElementsAre(0, 9));
  const auto off = describe_with("qwen2", {{"sliding_window", 9}, {"max_window_layers", 0}});
  ASSERT_TRUE(off.ok());
  EXPECT_THAT(windows_of(*off), ElementsAre(0, 0));
  const auto pattern = describe_with("exaone4", {{"layer_types", nullptr}});
  ASSERT_TRUE(pattern.ok()) << pattern.status().message();
  EXPECT_THAT(windows_of(*pattern), ElementsAre(16, 16, 0));
  EXPECT_THAT(ropes_of(*pattern), ElementsAre(0, 0, -1));
  const auto period =
      describe_with("exaone4", {{"layer_types", nullptr}, {"sliding_window_pattern", 2}});
  ASSERT_TRUE(period.ok());
  EXPECT_THAT(windows_of(*period), ElementsAre(16, 0, 16));
  const auto without = describe_with("exaone4", {{"sliding_window", nullptr}});
  ASSERT_TRUE(without.ok());
  EXPECT_THAT(ropes_of(*without), ElementsAre(0, 0, 0));
  const auto smol = describe_with("smollm3", {{"no_rope_layers", nullptr},
                                              {"num_hidden_layers", 8},
                                              {"no_rope_layer_interval", 4},
                                              {"layer_types", nullptr}});
  ASSERT_TRUE(smol.ok()) << smol.status().message();
  EXPECT_THAT(ropes_of(*smol), ElementsAre(0, 0, 0, -1, 0, 0, 0, -1));
}

TEST(Description, ScalingOfOldOlmoIsForFullLayersOnly) {
  const auto olmo = describe_with("olmo3", {{"rope_parameters", nullptr},
                                            {"rope_theta", 700000},
                                            {"rope_scaling",
                                             {{"rope_type", "yarn"},
                                              {"factor", 8.0},
                                              {"original_max_position_embeddings", 64},
                                              {"attention_factor", 1.2}}}});
  ASSERT_TRUE(olmo.ok()) << olmo.status().message();
  EXPECT_THAT(ropes_of(*olmo), ElementsAre(1, 1, 1, 0));
  EXPECT_EQ(olmo->ropes[0].scaling, RopeScaling::kYarn);
  EXPECT_EQ(olmo->ropes[0].attention_factor, 1.2);
  EXPECT_EQ(olmo->ropes[1].scaling, RopeScaling::kNone);
  EXPECT_EQ(olmo->ropes[1].base, 700000);
}

TEST(Description, FindsATextModelWithinAComposite) {
  const auto description = describe("mistral3-composite", read_config("mistral3-composite"));
  ASSERT_TRUE(description.ok()) << description.status().message();
  EXPECT_EQ(description->architecture, "ministral3");
  EXPECT_EQ(description->tensor_names.layer_prefix, "language_model.model.layers.");
  EXPECT_EQ(description->query_scaling_positions, 32);
}

TEST(ModelLoad, NamesTheTensorOfAWrongShape) {
  json::object config = read_config("llama");
  config["intermediate_size"] = 512;
  const auto source = formats::ModelSource::open(write_model("llama", json::serialize(config)));
  ASSERT_TRUE(source.ok()) << source.status().message();
  const auto ops = device::Ops::create({});
  ASSERT_TRUE(ops.ok());
  const auto model = Model::load(*source, **ops);
  ASSERT_FALSE(model.ok());
  EXPECT_EQ(model.status().message(),
            "tensor model.layers.0.mlp.gate_proj.weight has shape [256, 256], must be [512, 256]");
}

TEST(ModelLoad, NamesTheTensorThatIsMissing) {
  json::object config = read_config("llama");
  config["num_hidden_layers"] = 3;
  const auto source = formats::ModelSource::open(write_model("llama", json::serialize(config)));
  ASSERT_TRUE(source.ok()) << source.status().message();
  const auto ops = device::Ops::create({});
  ASSERT_TRUE(ops.ok());
  const auto model = Model::load(*source, **ops);
  ASSERT_FALSE(model.ok());
  EXPECT_THAT(model.status().message(), HasSubstr("model.layers.2.input_layernorm.weight"));
}

TEST(ModelLoad, ProgressGrowsToOne) {
  const auto source = formats::ModelSource::open(tutti::testing::golden_path("models/llama"));
  const auto ops = device::Ops::create({});
  ASSERT_TRUE(source.ok() && ops.ok());
  std::vector<double> seen;
  ASSERT_TRUE(Model::load(*source, **ops, [&](double done) { seen.push_back(done); }).ok());
  EXPECT_TRUE(std::ranges::is_sorted(seen));
  EXPECT_GT(seen.size(), 10u);
  EXPECT_EQ(seen.back(), 1.0);
}

}  // namespace
}  // namespace tutti::model
