// OpenAI's API as vLLM serves it. Fields: see docs/openai.md; sources: OpenAI's API reference and
// vLLM's documentation.
//
// A field that is known but not built is refused with kUnsupported naming it; an unknown field is
// refused with kInvalidArgument naming it.
#pragma once

#include "dialects/dialect.h"

namespace tutti::dialects::openai {

Result<ParsedRequest> parse_chat_completion(std::string_view body);
Result<ParsedRequest> parse_completion(std::string_view body);

struct ModelCard {
  std::string id;
  std::int64_t created_unix_seconds = 0;
  int max_model_len = 0;
};
std::string render_model_list(const std::vector<ModelCard>& models);
std::string render_model(const ModelCard& model);

// The one table from error to status and body {"error":{message,type,param,code}}.
HttpError render_error(const Status& status);

}  // namespace tutti::dialects::openai
