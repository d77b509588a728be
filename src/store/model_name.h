// From what somebody typed ("llama3.2", "./model.gguf", "demo", nothing) to files on disk.
//
// In this order: a path that exists (a GGUF, a folder in Hugging Face's layout, a folder with one
// GGUF in it); "demo" or nothing, the built-in model; a name in Ollama's store:
//   <root>/manifests/<host>/<namespace>/<model>/<tag>   JSON with layers and their digests
//   <root>/blobs/sha256-<64 hex digits>
// Names are checked part by part and digests by their exact form before a path is made of them, so
// that nothing outside the root is ever opened.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"

namespace tutti::store {

// [host/][namespace/]model[:tag]
struct ModelName {
  std::string host = "registry.ollama.ai";
  std::string name_space = "library";
  std::string model;
  std::string tag = "latest";

  // The shortest form that means the same, with its tag: "llama3.2:latest", "me/mine:q4".
  std::string display() const;
};

// Errors: kInvalidArgument for an empty part, one longer than 80 bytes, or a character other than
// letters, digits, '-', '_', '.' (and ':' in a host), or a part that begins with '.' or '-'.
Result<ModelName> parse_model_name(const std::string& text);

// Where a model is and what its manifest says about it.
struct ModelLocation {
  std::string name;                   // "demo:latest", "llama3.2:1b", "my-model:latest"
  std::filesystem::path path;         // a GGUF file or a folder
  std::optional<std::string> digest;  // of the manifest's model layer, 64 hex digits
  // Layers of an Ollama manifest; empty elsewhere.
  std::string go_template;
  std::string system;
  std::string parameters_json;  // {"stop": ["…"], "temperature": 0.7, …}
  std::string license;
};

// `ollama_root`: see default_ollama_root(). Errors: kNotFound saying where it looked; kCorrupt and
// kInvalidArgument name the manifest and what is wrong with it; kUnsupported for a manifest that
// needs adapters or a projector.
Result<ModelLocation> resolve_model(const std::string& typed,
                                    const std::filesystem::path& ollama_root);

// OLLAMA_MODELS, or ~/.ollama/models, or Ollama's system folder when that one is missing.
std::filesystem::path default_ollama_root();

// The built-in demo model's folder: TUTTI_DEMO_MODEL, then models/demo of the share folder beside
// the binary, of the installation prefix, of the source tree the binary was built in.
Result<std::filesystem::path> find_demo_model();

// The path of a blob; `digest` is "sha256:" and 64 lower-case hex digits exactly, else
// kInvalidArgument.
Result<std::filesystem::path> blob_path(const std::filesystem::path& ollama_root,
                                        const std::string& digest);

}  // namespace tutti::store
