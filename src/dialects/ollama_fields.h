// The fields of Ollama's requests, one row each.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/request.h"
#include "dialects/field_reader.h"

namespace tutti::dialects::ollama {

// What has been read of a body before its fields are checked against each other.
struct Draft {
  Request request;
  std::string legacy_name;
  std::int64_t seed = -1;                    // -1: absent
  int num_predict = -1;                      // <= 0: to the end of the context
  std::optional<double> keep_alive_seconds;  // < 0: for ever
  json::object template_variables;
  std::vector<std::string> warnings;
  json::array messages;  // chat
  // generate
  std::string prompt, system, template_source;
  bool raw = false;
  std::vector<TokenId> context;
};

const std::vector<Field<Draft>>& chat_fields();
const std::vector<Field<Draft>>& generate_fields();
const std::vector<Field<Draft>>& option_fields();

// The options' defaults, which are Ollama's; `given` says which ones the client set.
SamplingParams default_sampling();

}  // namespace tutti::dialects::ollama
