#include "store/model_info.h"

#include <fmt/format.h>

#include <openssl/evp.h>

#include <algorithm>
#include <chrono>
#include <map>

#include "base/file.h"
#include "base/json.h"
#include "formats/model_source.h"
#include "model/description.h"

namespace tutti::store {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxLicenseBytes = 1 << 20;
// Bytes of each tensor that go into the digest.
constexpr std::size_t kDigestBytesOfTensor = 64;

// GGUF's general.file_type (llama.cpp's llama_ftype).
const std::map<std::uint64_t, const char*> kFileTypes = {
    {0, "F32"},     {1, "F16"},     {2, "Q4_0"},    {3, "Q4_1"},    {7, "Q8_0"},    {8, "Q5_0"},
    {9, "Q5_1"},    {10, "Q2_K"},   {11, "Q3_K_S"}, {12, "Q3_K_M"}, {13, "Q3_K_L"}, {14, "Q4_K_S"},
    {15, "Q4_K_M"}, {16, "Q5_K_S"}, {17, "Q5_K_M"}, {18, "Q6_K"},   {32, "BF16"},
};

class Sha256 {
 public:
  Sha256() : context_(EVP_MD_CTX_new(), EVP_MD_CTX_free) {
    EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr);
  }
  void add(const void* data, std::size_t size) { EVP_DigestUpdate(context_.get(), data, size); }
  std::string hex() {
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int size = 0;
    EVP_DigestFinal_ex(context_.get(), digest, &size);
    std::string text;
    for (unsigned int i = 0; i < size; ++i) text += fmt::format("{:02x}", digest[i]);
    return text;
  }

 private:
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context_;
};

// Of names, types, shapes and beginnings of all tensors: cheap, and another for another model.
std::string digest_of(const formats::ModelSource& source) {
  Sha256 hash;
  for (const TensorView& tensor : source.tensors()) {
    const std::string head = fmt::format("{}|{}|{}|", tensor.name, to_string(tensor.dtype),
                                         shape_to_string(tensor.shape));
    hash.add(head.data(), head.size());
    hash.add(tensor.bytes.data(), std::min(tensor.bytes.size(), kDigestBytesOfTensor));
  }
  return hash.hex();
}

std::int64_t size_on_disk(const fs::path& path, const formats::ModelSource& source) {
  std::error_code error;
  if (fs::is_regular_file(path, error) && source.gguf_files().size() == 1) {
    return static_cast<std::int64_t>(fs::file_size(path, error));
  }
  std::int64_t total = 0;
  for (const TensorView& tensor : source.tensors()) {
    total += static_cast<std::int64_t>(tensor.bytes.size());
  }
  return total;
}

std::int64_t modified_seconds(const fs::path& path) {
  std::error_code error;
  const fs::file_time_type time = fs::last_write_time(path, error);
  if (error) return 0;
  return std::chrono::duration_cast<std::chrono::seconds>(
             std::chrono::file_clock::to_sys(time).time_since_epoch())
      .count();
}

// The file's own word for it, or the type that most bytes have.
std::string quantization_of(const formats::ModelSource& source) {
  if (source.gguf() && source.gguf()->has("general.file_type")) {
    const auto type = source.gguf()->get_uint("general.file_type");
    const auto found = type.ok() ? kFileTypes.find(*type) : kFileTypes.end();
    if (found != kFileTypes.end()) return found->second;
  }
  std::map<DType, std::size_t> bytes;
  for (const TensorView& tensor : source.tensors()) bytes[tensor.dtype] += tensor.bytes.size();
  const auto most = std::max_element(
      bytes.begin(), bytes.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  return most == bytes.end() ? "" : std::string(to_string(most->first));
}

json::object describe_as_gguf(const model::ModelDescription& description, std::int64_t count) {
  const std::string& arch = description.architecture;
  json::object object{{"general.architecture", arch}, {"general.parameter_count", count}};
  const auto add = [&](const char* key, json::value value) {
    object[arch + "." + key] = std::move(value);
  };
  add("block_count", description.num_layers);
  add("context_length", description.max_positions);
  add("embedding_length", description.hidden_size);
  add("feed_forward_length", description.intermediate_size);
  add("attention.head_count", description.num_heads);
  add("attention.head_count_kv", description.num_kv_heads);
  add("attention.key_length", description.head_dim);
  add("attention.layer_norm_rms_epsilon", description.rms_norm_epsilon);
  add("vocab_size", description.vocab_size);
  if (!description.ropes.empty()) add("rope.freq_base", description.ropes.front().base);
  return object;
}

json::object metadata_of(const formats::ModelSource& source,
                         const model::ModelDescription& description, std::int64_t count) {
  json::object object = describe_as_gguf(description, count);
  if (const formats::GgufFile* gguf = source.gguf()) {
    for (const std::string& key : gguf->keys()) {
      if (key != "tokenizer.chat_template") object[key] = gguf->value_as_json(key);
    }
  }
  return object;
}

std::string parameter_text(const json::value& value) {
  return value.is_double() ? fmt::format("{}", value.get_double()) : write_json(value);
}

std::string license_of(const ModelLocation& location) {
  if (!location.license.empty()) return location.license;
  const auto text = read_file(location.path / "LICENSE", kMaxLicenseBytes);
  return text.ok() ? *text : std::string();
}

}  // namespace

std::string format_parameter_count(std::int64_t count) {
  const auto value = static_cast<double>(count);
  if (value >= 1e9) return fmt::format("{:.1f}B", value / 1e9);
  if (value >= 1e6) return fmt::format("{:.1f}M", value / 1e6);
  return fmt::format("{:.0f}K", value / 1e3);
}

std::string parameter_lines(const std::string& parameters_json) {
  const auto parsed = parse_json(parameters_json);
  if (!parsed.ok() || !parsed->is_object()) return {};
  std::string text;
  const auto add = [&text](std::string_view key, const json::value& value) {
    text += fmt::format("{:<30} {}\n", key, parameter_text(value));
  };
  for (const auto& [key, value] : parsed->get_object()) {
    if (const json::array* list = value.if_array()) {
      for (const json::value& element : *list) add(key, element);
    } else {
      add(key, value);
    }
  }
  return text;
}

void fill_info(const ModelLocation& location, const formats::ModelSource& source,
               const model::ModelDescription& description, ModelInfo& info) {
  std::int64_t count = 0;
  for (const TensorView& tensor : source.tensors()) {
    count += tensor.num_values();
    json::array shape(tensor.shape.begin(), tensor.shape.end());
    info.tensors.push_back(json::object{
        {"name", tensor.name}, {"type", to_string(tensor.dtype)}, {"shape", std::move(shape)}});
  }
  info.digest = location.digest.value_or(digest_of(source));
  info.modified_unix_seconds = modified_seconds(location.path);
  info.size_bytes = size_on_disk(location.path, source);
  info.format = source.gguf() ? "gguf" : "safetensors";
  info.family = description.architecture;
  info.parameter_size = format_parameter_count(count);
  info.quantization_level = quantization_of(source);
  info.context_length = description.max_positions;
  info.embedding_length = description.hidden_size;
  info.capabilities = {"completion"};
  info.license = license_of(location);
  info.system = location.system;
  info.parameters = parameter_lines(location.parameters_json);
  info.metadata = metadata_of(source, description, count);
}

}  // namespace tutti::store
