// What a client asked, in our terms (Request), and what the engine computes (SequenceRequest).
#pragma once

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <limits>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/clock.h"
#include "core/ids.h"
#include "core/sampling_params.h"

namespace tutti {

// A conversation, to be rendered by the model's chat template.
struct ChatPrompt {
  // Messages in the shape that chat templates read: {role, content: string, reasoning_content?,
  // tool_calls?, tool_call_id?, name?}. Content parts are joined by the dialect.
  boost::json::array messages;
  // Further template variables (OpenAI's chat_template_kwargs, `enable_thinking` …).
  boost::json::object template_variables;
  bool add_generation_prompt = true;
  // The last message is the beginning of the answer and is continued.
  bool continue_final_message = false;
  // Whether the tokenizer adds its own start token to the rendered text (templates usually
  // write it themselves).
  bool add_special_tokens = false;
  // Ollama's /api/generate `context`: tokens of the turns before, which come before the rendered
  // text.
  std::vector<TokenId> context;
};

// Text that is tokenised as it stands.
struct TextPrompt {
  std::string text;
  bool add_special_tokens = true;
  // Ollama's /api/generate `context`: tokens that come before the text.
  std::vector<TokenId> context;
};

// Ollama's /api/generate with a `template` of its own (Go template syntax).
struct TemplatedPrompt {
  std::string source;
  std::string system;
  std::string prompt;
  std::vector<TokenId> context;
};

struct TokensPrompt {
  std::vector<TokenId> tokens;
};

using Prompt = std::variant<ChatPrompt, TextPrompt, TemplatedPrompt, TokensPrompt>;

// As max_tokens: until the end of the context.
inline constexpr int kUnlimitedTokens = std::numeric_limits<int>::max();

struct Request {
  std::string model;  // as the client wrote it; empty: the only one
  // More than one for OpenAI's completions with a list; each gives `n` choices, index =
  // prompt_index * n + i.
  std::vector<Prompt> prompts;
  int n = 1;
  // `max_tokens` is kUnlimitedTokens when the answer may go on to the end of the context.
  SamplingParams sampling;
  // Which fields the client set: what it did not set comes from the model's
  // generation_config.json or its Ollama parameters, where the dialect says so.
  struct Given {
    bool temperature = false, top_k = false, top_p = false, min_p = false, typical_p = false,
         repeat_penalty = false, repeat_last_n = false, frequency_penalty = false,
         presence_penalty = false, max_tokens = false, seed = false,
         stop = false,        // the stop strings
        keep_tokens = false;  // truncate_keep_tokens
  } given;
  std::vector<std::string> stop;  // stop strings
  bool include_stop_str_in_output = false;
  bool skip_special_tokens = true;
  bool echo = false;  // completions: the prompt comes first
  bool stream = false;
  bool include_usage = false;  // stream_options.include_usage
  bool continuous_usage_stats = false;
  bool return_token_ids = false;
  // What to do when max_tokens is beyond the room the prompt leaves in the context: OpenAI's and
  // vLLM's clients get a 400 with the counts, Ollama's are clamped.
  bool clamp_max_tokens = false;
  // Keep only the last so many prompt tokens.
  std::optional<int> truncate_prompt_tokens;
  // Ollama: a prompt longer than the context loses its oldest part and is not refused.
  bool truncate_to_context = false;
  // Ollama's num_keep: the tokens at the prompt's start that such a cut keeps. -1: all that fit.
  int truncate_keep_tokens = 0;
  std::string request_id;           // the client's own, or empty
  std::optional<Duration> timeout;  // since it was received; then it ends with kDeadlineExceeded
  int priority = 0;                 // smaller ones first, as vLLM's
  std::string cache_salt;           // sets its prefixes in the cache apart
};

// One sequence for the engine.
struct SequenceRequest {
  SequenceId id;
  std::vector<TokenId> prompt;  // 1 .. max_model_len - 1 tokens
  // Tokens that were generated and sent before, by an engine that is gone: they are computed again
  // like a prompt, but count as generated for penalties, limits and usage, and no event is sent
  // for them. The first new TokenEvent has index generated.size().
  std::vector<TokenId> generated;
  SamplingParams sampling;
  std::vector<TokenId> end_tokens;  // the model's own; empty when ignore_eos
  std::string tenant;               // who it is counted to; empty: the common one
  double tenant_weight = 1.0;       // share of the engine relative to other tenants, > 0
  std::string cache_salt;           // beside the tenant, sets prefixes in the cache apart
  int priority = 0;                 // smaller ones first, as vLLM's
  std::optional<TimePoint> deadline;
};

}  // namespace tutti
