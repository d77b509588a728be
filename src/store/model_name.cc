#include "store/model_name.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <system_error>

#include "base/file.h"
#include "base/json.h"

namespace tutti::store {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxPartLength = 80;
constexpr std::size_t kMaxManifestBytes = 1 << 20;
constexpr std::size_t kMaxTextLayerBytes = 4 << 20;

bool is_letter_or_digit(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

Status check_part(const std::string& part, const char* what, bool is_host) {
  if (part.empty())
    return invalid_argument("model", fmt::format("the {} of a model is empty", what));
  if (part.size() > kMaxPartLength) {
    return invalid_argument("model", fmt::format("the {} of a model has {} bytes, at most {} are "
                                                 "allowed",
                                                 what, part.size(), kMaxPartLength));
  }
  const bool good = std::all_of(part.begin(), part.end(), [&](char c) {
    return is_letter_or_digit(c) || c == '-' || c == '_' || c == '.' || (is_host && c == ':');
  });
  if (!good || part[0] == '.' || part[0] == '-') {
    return invalid_argument("model", fmt::format("the {} of a model may hold letters, digits, '-', "
                                                 "'_' and '.', and begins with a letter or digit",
                                                 what));
  }
  return {};
}

bool is_gguf_name(const fs::path& path) {
  return path.extension() == ".gguf" || path.extension() == ".GGUF";
}

// A name for what has only a path: the file's or folder's own, made of the allowed characters.
std::string name_of_path(const fs::path& path) {
  std::error_code error;
  fs::path full = fs::weakly_canonical(path, error);
  if (error) full = path;
  std::string name = is_gguf_name(full) ? full.stem().string() : full.filename().string();
  for (char& c : name) {
    if (!is_letter_or_digit(c) && c != '-' && c != '_' && c != '.') c = '-';
  }
  const std::size_t first = name.find_first_not_of(".-");
  name = first == std::string::npos ? "model" : name.substr(first, kMaxPartLength);
  return name + ":latest";
}

// The GGUF of a folder that holds one model: one file, or the parts of one.
Result<fs::path> find_gguf_in_folder(const fs::path& folder) {
  std::vector<fs::path> files;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    const bool is_later_part = entry.path().string().find("-of-") != std::string::npos &&
                               entry.path().string().find("-00001-of-") == std::string::npos;
    if (is_gguf_name(entry.path()) && !is_later_part) files.push_back(entry.path());
  }
  if (error) return not_found(fmt::format("cannot read the folder {}", folder.string()));
  if (files.empty()) {
    return not_found(
        fmt::format("{} holds neither a config.json nor a .gguf file", folder.string()));
  }
  if (files.size() > 1) {
    return invalid_argument("model", fmt::format("{} holds {} .gguf models; name one of them",
                                                 folder.string(), files.size()));
  }
  return files.front();
}

Result<ModelLocation> locate_path(const fs::path& path) {
  ModelLocation location;
  location.name = name_of_path(path);
  location.path = path;
  std::error_code error;
  if (fs::is_directory(path, error) && !fs::exists(path / "config.json", error)) {
    TUTTI_ASSIGN_OR_RETURN(location.path, find_gguf_in_folder(path));
  }
  return location;
}

// Follows links and refuses what lies outside the root.
Result<fs::path> beneath(const fs::path& root, const fs::path& path) {
  std::error_code error;
  const fs::path full_root = fs::canonical(root, error);
  if (error) return not_found(fmt::format("the model store {} does not exist", root.string()));
  const fs::path full = fs::canonical(path, error);
  if (error) return not_found(fmt::format("{} does not exist", path.string()));
  const auto mismatch = std::mismatch(full_root.begin(), full_root.end(), full.begin(), full.end());
  if (mismatch.first != full_root.end()) {
    return corrupt(fmt::format("{} leads outside the model store", path.string()));
  }
  return full;
}

struct Layer {
  std::string media_type;
  std::string digest;
};

Result<std::vector<Layer>> read_manifest(const fs::path& path) {
  TUTTI_ASSIGN_OR_RETURN(const std::string text, read_file(path, kMaxManifestBytes));
  auto parsed = parse_json(text);
  if (!parsed.ok()) return parsed.status().with_context(path.string());
  const json::object* manifest = parsed->if_object();
  const json::value* layers = manifest ? manifest->if_contains("layers") : nullptr;
  if (!layers || !layers->is_array()) {
    return corrupt(path.string() + ": layers: must be an array");
  }
  std::vector<Layer> result;
  for (const json::value& value : layers->get_array()) {
    const json::object* object = value.if_object();
    const json::value* type = object ? object->if_contains("mediaType") : nullptr;
    const json::value* digest = object ? object->if_contains("digest") : nullptr;
    if (!type || !type->is_string() || !digest || !digest->is_string()) {
      return corrupt(path.string() + ": layers: each needs the strings mediaType and digest");
    }
    result.push_back({json::value_to<std::string>(*type), json::value_to<std::string>(*digest)});
  }
  return result;
}

Status read_layer(const Layer& layer, const fs::path& root, ModelLocation& location) {
  constexpr std::string_view kPrefix = "application/vnd.ollama.image.";
  if (!layer.media_type.starts_with(kPrefix)) return {};
  const std::string kind = layer.media_type.substr(kPrefix.size());
  if (kind == "adapter" || kind == "projector") {
    return unsupported(fmt::format("the model has an {} layer, which is not supported yet", kind));
  }
  TUTTI_ASSIGN_OR_RETURN(const fs::path named, blob_path(root, layer.digest));
  TUTTI_ASSIGN_OR_RETURN(const fs::path path, beneath(root, named));
  if (kind == "model") {
    if (location.digest) return unsupported("the model has several weight layers");
    location.digest = layer.digest.substr(std::string_view("sha256:").size());
    location.path = path;
    return {};
  }
  std::string* target = kind == "template"  ? &location.go_template
                        : kind == "system"  ? &location.system
                        : kind == "params"  ? &location.parameters_json
                        : kind == "license" ? &location.license
                                            : nullptr;
  if (!target) return {};
  TUTTI_ASSIGN_OR_RETURN(std::string text, read_file(path, kMaxTextLayerBytes));
  if (!target->empty()) *target += '\n';
  *target += text;
  return {};
}

Result<ModelLocation> locate_in_store(const ModelName& name, const fs::path& root) {
  const fs::path manifest =
      root / "manifests" / name.host / name.name_space / name.model / name.tag;
  std::error_code error;
  if (!fs::is_regular_file(manifest, error)) {
    return not_found(fmt::format("model \"{}\" is neither a path nor in the model store {}",
                                 name.display(), root.string()));
  }
  TUTTI_ASSIGN_OR_RETURN(const fs::path path, beneath(root, manifest));
  TUTTI_ASSIGN_OR_RETURN(const std::vector<Layer> layers, read_manifest(path));
  ModelLocation location;
  location.name = name.display();
  for (const Layer& layer : layers) {
    const Status status = read_layer(layer, root, location);
    if (!status.ok()) return status.with_context(manifest.string());
  }
  if (!location.digest) return corrupt(manifest.string() + ": no layer holds the model's weights");
  return location;
}

fs::path binary_folder() {
  std::error_code error;
  const fs::path binary = fs::read_symlink("/proc/self/exe", error);
  return error ? fs::path() : binary.parent_path();
}

}  // namespace

std::string ModelName::display() const {
  const ModelName defaults;
  std::string text;
  if (host != defaults.host) text += host + "/";
  if (host != defaults.host || name_space != defaults.name_space) text += name_space + "/";
  return text + model + ":" + tag;
}

Result<ModelName> parse_model_name(const std::string& text) {
  ModelName name;
  std::string rest = text;
  // A ':' after the last '/' begins the tag; one before it belongs to the host's port.
  const std::size_t last_slash = rest.rfind('/');
  const std::size_t colon = rest.rfind(':');
  if (colon != std::string::npos && (last_slash == std::string::npos || colon > last_slash)) {
    name.tag = rest.substr(colon + 1);
    rest.resize(colon);
  }
  std::vector<std::string> parts(1);
  for (const char c : rest) {
    if (c == '/') {
      parts.emplace_back();
    } else {
      parts.back() += c;
    }
  }
  if (parts.size() > 3) {
    return invalid_argument("model", "a model's name has at most three parts between slashes");
  }
  name.model = parts.back();
  if (parts.size() >= 2) name.name_space = parts[parts.size() - 2];
  if (parts.size() == 3) name.host = parts[0];
  TUTTI_RETURN_IF_ERROR(check_part(name.host, "host", true));
  TUTTI_RETURN_IF_ERROR(check_part(name.name_space, "namespace", false));
  TUTTI_RETURN_IF_ERROR(check_part(name.model, "name", false));
  TUTTI_RETURN_IF_ERROR(check_part(name.tag, "tag", false));
  return name;
}

Result<ModelLocation> resolve_model(const std::string& typed, const fs::path& ollama_root) {
  std::error_code error;
  if (!typed.empty() && fs::exists(typed, error)) return locate_path(typed);
  if (typed.empty() || typed == "demo" || typed == "demo:latest") {
    ModelLocation location;
    location.name = "demo:latest";
    TUTTI_ASSIGN_OR_RETURN(location.path, find_demo_model());
    return location;
  }
  const auto name = parse_model_name(typed);
  const bool looks_like_path = typed.find('/') != std::string::npos || is_gguf_name(typed);
  if (!name.ok()) {
    return looks_like_path ? not_found(fmt::format("{} does not exist", typed)) : name.status();
  }
  return locate_in_store(*name, ollama_root);
}

fs::path default_ollama_root() {
  if (const char* folder = std::getenv("OLLAMA_MODELS"); folder && *folder) return folder;
  const char* home = std::getenv("HOME");
  const fs::path own = fs::path(home ? home : "/") / ".ollama" / "models";
  const fs::path of_system = "/usr/share/ollama/.ollama/models";
  std::error_code error;
  return !fs::exists(own, error) && fs::exists(of_system, error) ? of_system : own;
}

Result<fs::path> find_demo_model() {
  if (const char* folder = std::getenv("TUTTI_DEMO_MODEL"); folder && *folder)
    return fs::path(folder);
  const fs::path folder = binary_folder();
  const std::vector<fs::path> candidates = {
      folder / ".." / "share" / "tutti" / "models" / "demo",
      fs::path(TUTTI_INSTALL_PREFIX) / "share" / "tutti" / "models" / "demo",
      fs::path(TUTTI_SOURCE_DIR) / "models" / "demo",
  };
  std::error_code error;
  for (const fs::path& candidate : candidates) {
    if (fs::exists(candidate / "config.json", error)) return fs::weakly_canonical(candidate, error);
  }
  return not_found(
      "the built-in demo model is not installed (share/tutti/models/demo); name another model");
}

Result<fs::path> blob_path(const fs::path& ollama_root, const std::string& digest) {
  constexpr std::string_view kPrefix = "sha256:";
  const auto is_hex = [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); };
  const bool good = digest.size() == kPrefix.size() + 64 && digest.starts_with(kPrefix) &&
                    std::all_of(digest.begin() + kPrefix.size(), digest.end(), is_hex);
  if (!good) {
    return invalid_argument("digest", "a digest is \"sha256:\" and 64 lower-case hex digits");
  }
  return ollama_root / "blobs" / ("sha256-" + digest.substr(kPrefix.size()));
}

}  // namespace tutti::store
