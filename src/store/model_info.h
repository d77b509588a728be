// The facts about a model that lists and cards show.
#pragma once

#include "store/loaded_model.h"

namespace tutti::model {
struct ModelDescription;
}

namespace tutti::store {

// Fills all of `info` but name, typed and chat_template.
void fill_info(const ModelLocation& location, const formats::ModelSource& source,
               const model::ModelDescription& description, ModelInfo& info);

// An Ollama manifest's parameters as Ollama lists them: one a line, lists element by element. Empty
// for what is not a JSON object.
std::string parameter_lines(const std::string& parameters_json);

// "7.3M", "1.1B", "512K".
std::string format_parameter_count(std::int64_t count);

}  // namespace tutti::store
