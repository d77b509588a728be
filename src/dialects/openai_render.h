// Responses of OpenAI's chat and text completions, whole and as server-sent events.
#pragma once

#include <memory>

#include "core/request.h"
#include "dialects/dialect.h"

namespace tutti::dialects::openai {

struct RenderOptions {
  enum class Kind { kChat, kCompletion };
  Kind kind = Kind::kChat;
  int num_choices = 1;
  int choices_per_prompt = 1;
  bool logprobs = false;
  int top_logprobs = 0;
  bool echo = false;
  bool include_usage = false;
  bool continuous_usage = false;
  bool return_token_ids = false;
};

// What the request says; the kind is left to the caller.
RenderOptions render_options(const Request& request);

std::unique_ptr<ResponseRenderer> make_renderer(const RenderOptions& options);

}  // namespace tutti::dialects::openai
