// From a request's prompt to token ids: chat template or Go template, then the tokenizer. What
// users wrote is passed to the tokenizer as literal text, so that it never becomes a control token.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "core/request.h"
#include "store/loaded_model.h"

namespace tutti::server {

struct BuiltPrompt {
  std::vector<TokenId> tokens;
  std::string text;  // as it was tokenised, without `context`; empty for a prompt of token ids
};

// Errors: kInvalidArgument from the template (its own refusal, word for word) or for a token id out
// of the vocabulary. The length is not checked here, except that messages are dropped where
// `request` allows it (truncate_to_context): the oldest first, system messages and the last never,
// until the prompt has at most `max_tokens` tokens. What is left begins with a user's message if
// there is one to begin with.
// Thread safety: may run on several threads at once.
Result<BuiltPrompt> build_prompt(const Prompt& prompt, const store::LoadedModel& model,
                                 bool drop_oldest_messages, int max_tokens);

}  // namespace tutti::server
