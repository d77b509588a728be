// The memory plan of a model that is not loaded, from its files.
#pragma once

#include "base/result.h"
#include "store/engine_model.h"
#include "store/memory_plan.h"

namespace tutti::formats {
class ModelSource;
}
namespace tutti::model {
struct ModelDescription;
}

namespace tutti::store {

// What is known before the weights are read; their size is an estimate from that of the file.
MemoryNeeds needs_before_loading(const LoadOptions& options, const formats::ModelSource& source,
                                 const model::ModelDescription& description,
                                 const device::Ops& ops);

// As loading would plan it, but for the estimate of the weights. Errors: those of load_model that
// come before weights are read.
Result<MemoryPlan> plan_model(const LoadOptions& options);

}  // namespace tutti::store
