// Each family from GGUF: golden checkpoints are rewritten as llama.cpp's converters write them, and
// must give the same numbers as before.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>

#include "formats/model_source.h"
#include "model/architectures.h"
#include "model/bounds.h"
#include "model/golden_support.h"
#include "tensor/dequantize.h"
#include "tests/support/gguf_writer.h"
#include "tests/support/goldens.h"

namespace tutti::model {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::LoadedModel;
using tutti::testing::GgufWriter;
namespace fs = std::filesystem;

// llama.cpp's permute: rows of each head go from [2, head_dim / 2] to [head_dim / 2, 2].
template <typename T>
std::vector<T> interleave(std::span<const T> values, int head_dim, std::size_t row_size) {
  std::vector<T> result(values.size());
  const auto half = static_cast<std::size_t>(head_dim) / 2;
  const std::size_t head_size = 2 * half * row_size;
  for (std::size_t head = 0; head < values.size() / head_size; ++head) {
    for (std::size_t row = 0; row < 2 * half; ++row) {
      const std::size_t target = row % half * 2 + row / half;
      std::copy_n(values.begin() + static_cast<long>(head * head_size + row * row_size), row_size,
                  result.begin() + static_cast<long>(head * head_size + target * row_size));
    }
  }
  return result;
}

class Converter {
 public:
  Converter(const formats::ModelSource& source, const ModelDescription& description,
            const Architecture& target)
      : source_(source), description_(description), target_(target) {
    writer_.add("general.architecture", target.gguf_name);
  }

  GgufWriter& writer() { return writer_; }
  std::string key(std::string_view name) const {
    return std::string(target_.gguf_name) + "." + std::string(name);
  }

  void write(const fs::path& path) {
    write_sizes();
    write_scaling();
    const TensorNames& names = description_.tensor_names;
    copy(names.embedding, "token_embd.weight");
    copy(names.output_norm, "output_norm.weight");
    if (!description_.tied_embeddings) copy(names.output, "output.weight");
    for (int layer = 0; layer < description_.num_layers; ++layer) copy_layer(layer);
    writer_.write(path);
  }

 private:
  void write_sizes() {
    for (const SizeParameter& size : kSizeParameters) {
      writer_.add(key(size.gguf_key), static_cast<std::uint32_t>(description_.*size.member));
    }
    const auto head_dim = static_cast<std::uint32_t>(description_.head_dim);
    writer_.add(key("attention.head_count_kv"),
                static_cast<std::uint32_t>(description_.num_kv_heads));
    writer_.add(key("attention.key_length"), head_dim);
    writer_.add(key("attention.value_length"), head_dim);
    writer_.add(key("attention.layer_norm_rms_epsilon"),
                static_cast<float>(description_.rms_norm_epsilon));
    if (description_.layers.front().sliding_window != 0) {
      writer_.add(key("attention.sliding_window"),
                  static_cast<std::uint32_t>(description_.layers.front().sliding_window));
    }
    if (description_.embedding_multiplier == 1) return;
    writer_.add(key("embedding_scale"), static_cast<float>(description_.embedding_multiplier));
    writer_.add(key("residual_scale"), static_cast<float>(description_.residual_multiplier));
    writer_.add(key("attention.scale"), static_cast<float>(description_.attention_scale));
    writer_.add(key("logit_scale"), static_cast<float>(description_.logits_divisor));
  }

  void write_scaling() {
    const RopeDescription& rope = description_.ropes.front();
    writer_.add(key("rope.freq_base"), static_cast<float>(rope.base));
    writer_.add(key("rope.dimension_count"), static_cast<std::uint32_t>(rope.rotary_dim));
    const std::vector<std::int64_t> shape = {rope.rotary_dim / 2};
    if (rope.scaling == RopeScaling::kLinear || rope.scaling == RopeScaling::kYarn) {
      writer_.add(key("rope.scaling.type"), to_string(rope.scaling));
      writer_.add(key("rope.scaling.factor"), static_cast<float>(rope.factor));
    }
    if (rope.scaling == RopeScaling::kYarn || rope.scaling == RopeScaling::kLongRope) {
      writer_.add(key("rope.scaling.original_context_length"),
                  static_cast<std::uint32_t>(rope.original_max_positions));
    }
    if (rope.scaling == RopeScaling::kLlama3) {
      const std::vector<float> scaled = inverse_frequencies(rope, false);
      std::vector<float> factors;
      for (std::size_t i = 0; i < scaled.size(); ++i) {
        const double plain = std::pow(rope.base, -2.0 * static_cast<double>(i) / rope.rotary_dim);
        factors.push_back(static_cast<float>(plain / scaled[i]));
      }
      writer_.add_tensor("rope_freqs.weight", shape, factors);
    }
    if (rope.scaling == RopeScaling::kLongRope) {
      writer_.add_tensor("rope_factors_short.weight", shape, rope.short_factors);
      writer_.add_tensor("rope_factors_long.weight", shape, rope.long_factors);
      writer_.add(key("rope.scaling.attn_factor"), static_cast<float>(rope.attention_factor));
    }
    if (description_.query_scaling_beta != 0) {
      writer_.add(key("rope.scaling.yarn_log_multiplier"), 1.0f);
      writer_.add(key("attention.temperature_scale"),
                  static_cast<float>(description_.query_scaling_beta));
    }
  }

  void copy_layer(int layer) {
    constexpr std::string_view LayerTensorNames::*kMembers[] = {
        &LayerTensorNames::pre_attention_norm,
        &LayerTensorNames::post_attention_norm,
        &LayerTensorNames::pre_mlp_norm,
        &LayerTensorNames::post_mlp_norm,
        &LayerTensorNames::q,
        &LayerTensorNames::k,
        &LayerTensorNames::v,
        &LayerTensorNames::qkv,
        &LayerTensorNames::q_norm,
        &LayerTensorNames::k_norm,
        &LayerTensorNames::attention_output,
        &LayerTensorNames::gate,
        &LayerTensorNames::up,
        &LayerTensorNames::gate_up,
        &LayerTensorNames::down,
    };
    const std::string number = std::to_string(layer) + ".";
    for (const auto member : kMembers) {
      const std::string_view from = description_.tensor_names.layer.*member;
      const std::string_view to = target_.gguf_names.*member;
      ASSERT_EQ(from.empty(), to.empty());
      if (from.empty()) continue;
      const bool rotated = member == &LayerTensorNames::q || member == &LayerTensorNames::k;
      for (const std::string_view ending : {".weight", ".bias"}) {
        copy(description_.tensor_names.layer_prefix + number + std::string(from) +
                 std::string(ending),
             "blk." + number + std::string(to) + std::string(ending), rotated);
      }
    }
  }

  // Vectors become F32, as converters do; matrices stay BF16.
  void copy(const std::string& from, const std::string& to, bool rotated = false) {
    const TensorView* tensor = source_.find_tensor(from);
    if (tensor == nullptr) return;
    const bool permuted =
        rotated && target_.gguf_rope_interleaved && !description_.rope_interleaved;
    if (tensor->shape.size() == 1) {
      std::vector<float> values = dequantize(*tensor).value();
      if (permuted) values = interleave<float>(values, description_.head_dim, 1);
      writer_.add_tensor(to, tensor->shape, values);
      return;
    }
    std::vector<std::byte> bytes(tensor->bytes.begin(), tensor->bytes.end());
    const auto row_bytes = static_cast<std::size_t>(tensor->row_length()) * 2;
    if (permuted) bytes = interleave<std::byte>(bytes, description_.head_dim, row_bytes);
    writer_.add_bf16_tensor(to, tensor->shape, bytes);
  }

  const formats::ModelSource& source_;
  const ModelDescription& description_;
  const Architecture& target_;
  GgufWriter writer_;
};

struct Conversion {
  std::string model;
  std::string_view gguf_name;
};
constexpr const char* kFileName = "model.gguf";

void expect_same_as_golden(const Conversion& conversion) {
  SCOPED_TRACE(conversion.model);
  const fs::path path = tutti::testing::golden_path("models/" + conversion.model);
  const auto source = formats::ModelSource::open(path);
  ASSERT_TRUE(source.ok()) << source.status().message();
  const auto description = describe_model(*source);
  ASSERT_TRUE(description.ok()) << description.status().message();
  const Architecture* target = find_gguf_architecture(conversion.gguf_name);
  ASSERT_NE(target, nullptr);
  Converter converter(*source, *description, *target);
  if (conversion.model == "exaone4") {
    converter.writer().add(converter.key("attention.sliding_window_pattern"),
                           std::vector<bool>{true, true, false});
  }
  const fs::path file = tutti::testing::make_temp_dir() / kFileName;
  converter.write(file);
  auto loaded = LoadedModel::load(
      file,
      {.compute_class = device::ComputeClass::kF32, .isa = device::Isa::kRef, .num_threads = 1});
  ASSERT_TRUE(loaded.ok()) << loaded.status().message();
  const testing::Golden golden = testing::read_golden(path / "golden.safetensors");
  const testing::Deviation off = testing::deviation((*loaded)->logits_of(golden.input_ids),
                                                    golden.logits, golden.standard_deviation);
  EXPECT_LE(off.max, std::max(1e-4, 10 * golden.sensitivity));
}

TEST(GgufFamily, EveryFamilyGivesTheGoldensNumbers) {
  const Conversion conversions[] = {
      {"llama-bias", "llama"},   {"llama-linear", "llama"},    {"llama-yarn", "llama"},
      {"llama3-rope", "llama"},  {"mistral", "llama"},         {"ministral3", "mistral3"},
      {"qwen2", "qwen2"},        {"qwen3", "qwen3"},           {"phi3", "phi3"},
      {"phi3-longrope", "phi3"}, {"phi3-partial", "phi3"},     {"olmo2", "olmo2"},
      {"olmo3", "olmo2"},        {"granite", "granite"},       {"exaone4", "exaone4"},
      {"seed_oss", "seed_oss"},  {"hunyuan", "hunyuan-dense"}, {"ernie4_5", "ernie4_5"},
  };
  for (const Conversion& conversion : conversions) expect_same_as_golden(conversion);
  // Too large for the repository.
  if (!tutti::testing::golden_path("models/glm4").empty()) expect_same_as_golden({"glm4", "glm4"});
}

// A GGUF with the metadata of a small Llama, some of it replaced, and an embedding.
Result<ModelDescription> describe_metadata(
    std::string_view architecture, const std::vector<std::pair<std::string, double>>& changes) {
  std::vector<std::pair<std::string, double>> values = {
      {"context_length", 512},     {"embedding_length", 64},
      {"block_count", 8},          {"feed_forward_length", 128},
      {"attention.head_count", 4}, {"attention.head_count_kv", 2},
      {"rope.freq_base", 10000.0}, {"attention.layer_norm_rms_epsilon", 1e-6}};
  for (const auto& [key, value] : changes) {
    std::erase_if(values, [&key](const auto& pair) { return pair.first == key; });
    values.emplace_back(key, value);
  }
  GgufWriter writer;
  writer.add("general.architecture", architecture);
  for (const auto& [key, value] : values) {
    const std::string name = std::string(architecture) + "." + key;
    const bool whole = value == std::floor(value) && value >= 0 && value < 0x1p32;
    if (whole && !key.starts_with("rope.freq_base")) {
      writer.add(name, static_cast<std::uint32_t>(value));
    } else {
      writer.add(name, static_cast<float>(value));
    }
  }
  const std::int64_t shape[] = {16, 64};
  writer.add_tensor("token_embd.weight", shape, std::vector<float>(16 * 64));
  const fs::path file = tutti::testing::make_temp_dir() / kFileName;
  writer.write(file);
  TUTTI_ASSIGN_OR_RETURN(const formats::ModelSource source, formats::ModelSource::open(file));
  return describe_model(source);
}

TEST(GgufDescription, RefusesHostileMetadata) {
  struct Hostile {
    std::string key;
    double value;
    std::string message;
  };
  const Hostile cases[] = {
      {"attention.head_count", 0, "llama.attention.head_count is 0, must be in [1, 4096]"},
      {"attention.head_count_kv", 0, "llama.attention.head_count_kv is 0"},
      {"attention.head_count_kv", 3, "must be a multiple of attention.head_count_kv"},
      {"attention.head_count", 128, "llama.attention.key_length is 0, must be in [2, 4096]"},
      {"attention.key_length", 0, "llama.attention.key_length is 0"},
      {"attention.value_length", 32, "llama.attention.value_length is 32"},
      {"block_count", 4e9, "llama.block_count is 4000000000"},
      {"block_count", 0.5, "llama.block_count"},
      {"embedding_length", 2e6, "llama.embedding_length is 2000000"},
      {"rope.freq_base", NAN, "llama.rope.freq_base\" is nan, must be finite"},
      {"rope.freq_base", INFINITY, "llama.rope.freq_base\" is inf, must be finite"},
      {"rope.freq_base", 0, "llama.rope.freq_base is 0"},
      {"rope.dimension_count", 34, "rope.dimension_count gives 34 rotary dimensions"},
      {"attention.layer_norm_rms_epsilon", NAN, "rms_epsilon\" is nan, must be finite"},
      {"expert_count", 8, "llama.expert_count is 8: experts are not supported"},
      {"rope.scale_linear", 0, "llama.rope.scale_linear is 0"},
  };
  for (const Hostile& hostile : cases) {
    SCOPED_TRACE(hostile.message);
    const auto description = describe_metadata("llama", {{hostile.key, hostile.value}});
    ASSERT_FALSE(description.ok());
    EXPECT_THAT(description.status().message(), HasSubstr(hostile.message));
  }
  const auto unknown = describe_metadata("sphinx", {});
  ASSERT_FALSE(unknown.ok());
  EXPECT_EQ(unknown.status().kind(), ErrorKind::kUnsupported);
  EXPECT_THAT(unknown.status().message(), HasSubstr("general.architecture is 'sphinx'"));
}

TEST(GgufDescription, SmolLmDoesNotRotateEachFourthLayer) {
  const auto description = describe_metadata("smollm3", {});
  ASSERT_TRUE(description.ok()) << description.status().message();
  std::vector<int> ropes;
  for (const LayerDescription& layer : description->layers) ropes.push_back(layer.rope_index);
  EXPECT_THAT(ropes, ElementsAre(0, 0, 0, -1, 0, 0, 0, -1));
  EXPECT_TRUE(description->rope_interleaved);
  EXPECT_TRUE(description->tied_embeddings);
  EXPECT_EQ(description->vocab_size, 16);
}

}  // namespace
}  // namespace tutti::model
