#include "model/description.h"

#include "formats/model_source.h"
#include "model/config_description.h"
#include "model/gguf_description.h"

namespace tutti::model {

std::string_view to_string(RopeScaling scaling) {
  switch (scaling) {
    case RopeScaling::kNone:
      return "none";
    case RopeScaling::kLinear:
      return "linear";
    case RopeScaling::kLlama3:
      return "llama3";
    case RopeScaling::kYarn:
      return "yarn";
    case RopeScaling::kLongRope:
      return "longrope";
    case RopeScaling::kFactors:
      return "factors";
  }
  return "unknown";
}

Result<ModelDescription> describe_model(const formats::ModelSource& source) {
  return source.gguf() != nullptr ? describe_gguf(source) : describe_config(source);
}

}  // namespace tutti::model
