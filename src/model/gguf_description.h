// A description from GGUF metadata.
// Source of the keys: github.com/ggml-org/ggml/blob/master/docs/gguf.md and llama.cpp's converters.
#pragma once

#include "base/result.h"
#include "model/architectures.h"
#include "model/description.h"

namespace tutti::formats {
class ModelSource;
}

namespace tutti::model {

// source.gguf() is not null. Errors: as describe_model.
Result<ModelDescription> describe_gguf(const formats::ModelSource& source);

// Fills description.ropes and every layer's window and rope; the sizes have been read.
Status describe_gguf_layers(const formats::ModelSource& source, const Architecture& architecture,
                            ModelDescription& description);

}  // namespace tutti::model
