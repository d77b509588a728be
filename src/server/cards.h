// What the lists and cards of the dialects show of a model.
#pragma once

#include <string>

#include "dialects/ollama.h"
#include "dialects/openai.h"
#include "store/loaded_model.h"

namespace tutti::server {

// The name without ":latest": what an OpenAI client writes.
std::string short_name(const std::string& name);

dialects::openai::ModelCard openai_card(const store::LoadedModel& model);
dialects::ollama::ModelCard ollama_card(const store::LoadedModel& model);
dialects::ollama::ModelDetails ollama_details(const store::LoadedModel& model);

// "2026-11-24T08:12:31.123456789Z"
std::string format_rfc3339(std::int64_t unix_nanoseconds);
std::int64_t unix_nanoseconds_now();

}  // namespace tutti::server
