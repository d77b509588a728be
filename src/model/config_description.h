// A description from a Hugging Face config.json.
#pragma once

#include "base/result.h"
#include "model/architectures.h"
#include "model/config_reader.h"
#include "model/description.h"

namespace tutti::formats {
class ModelSource;
}

namespace tutti::model {

// Old and new styles are read: rope_theta and rope_scaling beside rope_parameters, `type` beside
// `rope_type`, layer_types beside implied patterns; a text model within a larger checkpoint is
// found under text_config. Errors: as describe_model.
Result<ModelDescription> describe_config(const formats::ModelSource& source);

// Fills description.ropes and every layer's window and rope; the sizes have been read.
Status describe_layers(const ConfigReader& config, const Architecture& architecture,
                       ModelDescription& description);

}  // namespace tutti::model
