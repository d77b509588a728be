// Responses of Ollama's /api/chat and /api/generate, whole and as lines of JSON.
#pragma once

#include <memory>

#include "dialects/dialect.h"

namespace tutti::dialects::ollama {

struct RenderOptions {
  enum class Kind { kChat, kGenerate };
  Kind kind = Kind::kChat;
  bool logprobs = false;
  bool load_only = false;  // done_reason is "load"
};

std::unique_ptr<ResponseRenderer> make_renderer(const RenderOptions& options);

}  // namespace tutti::dialects::ollama
