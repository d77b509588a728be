// What a model is, for lists and for people.
#pragma once

#include <boost/json/object.hpp>
#include <cstdint>
#include <string>

#include "model/description.h"

namespace tutti::formats {
class ModelSource;
}

namespace tutti::model {

struct ModelFacts {
  std::string architecture;          // "llama"
  std::int64_t parameter_count = 0;  // of the text model: a vision tower is left out
  std::string parameter_size;        // "1.1B", "134.52M", as Ollama writes it
  std::string quantization;          // "BF16", "Q8_0", "Q4_K_M"
  std::int64_t weight_bytes = 0;     // in the file
  int context_length = 0;
  int embedding_length = 0;
};

ModelFacts facts_of(const formats::ModelSource& source, const ModelDescription& description);

// The description as `tutti inspect` prints it.
boost::json::object description_to_json(const ModelDescription& description);

// What /api/show calls model_info: a GGUF's own metadata (long arrays are null, as Ollama has
// them), or the same keys from a folder's description.
boost::json::object model_info(const formats::ModelSource& source,
                               const ModelDescription& description);

// "1.1B", "134.52M", "12K".
std::string format_parameter_size(std::int64_t count);

}  // namespace tutti::model
