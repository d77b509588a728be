#include <fmt/format.h>

#include <boost/json.hpp>
#include <iostream>

#include "app/commands.h"
#include "base/json.h"
#include "device/ops.h"
#include "formats/gguf.h"
#include "formats/model_source.h"
#include "formats/safetensors.h"
#include "store/model_name.h"

namespace tutti::app {
namespace {

namespace json = boost::json;

json::array tensors_as_json(const std::vector<TensorView>& tensors) {
  json::array list;
  for (const TensorView& tensor : tensors) {
    list.push_back({{"name", tensor.name},
                    {"type", to_string(tensor.dtype)},
                    {"shape", json::value_from(tensor.shape)},
                    {"bytes", tensor.bytes.size()}});
  }
  return list;
}

// What `--compute auto` and `--isa auto` mean for these weights on this machine.
json::object compute_as_json(const std::vector<TensorView>& tensors) {
  const device::Isa isa = device::available_isas().back();
  return {{"class", device::to_string(device::choose_compute_class(tensors, isa))},
          {"isa", device::to_string(isa)}};
}

json::object describe(const formats::GgufFile& file) {
  json::object metadata;
  for (const std::string& key : file.keys()) metadata[key] = file.value_as_json(key);
  return {{"format", "gguf"},
          {"version", file.version()},
          {"alignment", file.alignment()},
          {"metadata", std::move(metadata)},
          {"compute", compute_as_json(file.tensors())},
          {"tensors", tensors_as_json(file.tensors())}};
}

Result<json::object> describe_safetensors(const std::filesystem::path& path) {
  TUTTI_ASSIGN_OR_RETURN(const auto file, formats::SafetensorsFile::open(path));
  return json::object{{"format", "safetensors"},
                      {"metadata", json::value_from(file.metadata())},
                      {"tensors", tensors_as_json(file.tensors())}};
}

Result<json::object> describe_source(const std::filesystem::path& path) {
  TUTTI_ASSIGN_OR_RETURN(const auto source, formats::ModelSource::open(path));
  if (const formats::GgufFile* gguf = source.gguf()) {
    json::object description = describe(*gguf);
    description["tensors"] = tensors_as_json(source.tensors());
    return description;
  }
  return json::object{{"format", "safetensors"},
                      {"config", source.config()},
                      {"compute", compute_as_json(source.tensors())},
                      {"tensors", tensors_as_json(source.tensors())}};
}

}  // namespace

int inspect(const InspectOptions& options) {
  const std::filesystem::path typed(options.file);
  auto description = [&]() -> Result<json::object> {
    if (typed.extension() == ".safetensors") return describe_safetensors(typed);
    if (std::filesystem::is_regular_file(typed)) {
      TUTTI_ASSIGN_OR_RETURN(const auto file, formats::GgufFile::open(typed));
      return describe(file);
    }
    TUTTI_ASSIGN_OR_RETURN(const auto location,
                           store::resolve_model(options.file, store::default_ollama_root()));
    return describe_source(location.path);
  }();
  if (!description.ok()) return report(description.status());
  std::cout << write_json(*description) << "\n";
  return 0;
}

}  // namespace tutti::app
