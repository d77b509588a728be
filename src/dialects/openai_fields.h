// The fields of OpenAI's and vLLM's generation requests, one row each.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/request.h"
#include "dialects/field_reader.h"

namespace tutti::dialects::openai {

// What has been read of a body before its fields are checked against each other.
struct Draft {
  Request request;
  ChatPrompt chat;                   // chat completions
  std::vector<Prompt> prompts;       // completions
  bool add_special_tokens = true;    // completions
  int max_tokens = 0;                // 0: absent
  int max_completion_tokens = 0;     // 0: absent
  int best_of = 0;                   // 0: absent
  std::int64_t seed = -1;            // -1: absent
  std::int64_t truncate_prompt = 0;  // 0: absent, -1: to the context
};

inline constexpr int kMaxChoices = 128;        // of one prompt
inline constexpr int kMaxTotalChoices = 1024;  // of all prompts of a request
inline constexpr int kMaxTopLogprobs = 20;
inline constexpr int kMaxStopStrings = 16;

const std::vector<Field<Draft>>& chat_completion_fields();
const std::vector<Field<Draft>>& completion_fields();
const std::vector<Field<Draft>>& stream_options_fields();

// Checks the fields against each other and moves everything into draft.request. `body` tells which
// fields were given.
Status finish_request(const json::object& body, Draft& draft);

}  // namespace tutti::dialects::openai
