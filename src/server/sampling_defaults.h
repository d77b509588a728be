// What a request leaves unsaid, taken from the model.
#pragma once

#include <boost/json/object.hpp>
#include <string>
#include <vector>

#include "core/request.h"
#include "server/prepare.h"
#include "store/loaded_model.h"

namespace tutti::server {

// Fills the fields that the client did not set: with kGenerationConfig temperature, top_k, top_p,
// min_p, repeat_penalty and max_tokens from generation_config.json (as vLLM does); with both the
// parameters of an Ollama manifest, stop strings included. Values out of range are passed over.
void apply_defaults(DefaultsFrom from, const store::LoadedModel& model, Request& request);

// Keys of an Ollama manifest's parameters that nothing here reads: num_ctx and other settings of
// loading, and misspelt ones.
std::vector<std::string> unused_parameters(const boost::json::object& parameters);

}  // namespace tutti::server
