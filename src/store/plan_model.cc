#include "store/plan_model.h"

#include <algorithm>

#include "core/ids.h"
#include "formats/model_source.h"
#include "model/description.h"
#include "model/model.h"
#include "store/model_name.h"
#include "store/spill_plan.h"
#include "tensor/dtype.h"

namespace tutti::store {
namespace {

// Vectors become float32.
std::size_t bytes_in_memory(const TensorView& tensor, const device::Ops& ops) {
  if (tensor.shape.size() == 2) return ops.weight_bytes(tensor);
  return static_cast<std::size_t>(tensor.num_values()) * sizeof(float);
}

}  // namespace

MemoryNeeds needs_before_loading(const LoadOptions& options, const formats::ModelSource& source,
                                 const model::ModelDescription& description,
                                 const device::Ops& ops) {
  MemoryNeeds needs;
  needs.available = available_memory(options.memory_limit);
  needs.fraction = options.memory_fraction;
  needs.promised = options.promised_bytes;
  for (const TensorView& tensor : source.tensors()) {
    needs.weights += bytes_in_memory(tensor, ops);
  }
  needs.scratch = model::step_scratch_bytes(
      description, std::max(options.token_budget, options.max_running), options.max_running);
  needs.scratch_block = kBlockSize * model::rope_position_bytes(description);
  needs.kv_block =
      ops.kv_block_bytes({description.num_layers, description.num_kv_heads, description.head_dim});
  if (const auto spill = plan_spill(options, source.path(), needs.kv_block)) {
    needs.spill = spill->memory;
  }
  needs.model_context = description.max_positions;
  needs.max_model_len = std::min(options.max_model_len, description.max_positions);
  needs.kv_cache_bytes = options.kv_cache_bytes;
  needs.max_running = options.max_running;
  return needs;
}

namespace {

// Refuses a type of weights that loading would refuse. Other tensors, of a vision tower say, are
// not read.
Status check_types(const formats::ModelSource& source, const model::TensorNames& names) {
  for (const TensorView& tensor : source.tensors()) {
    if (tensor.name == names.embedding || tensor.name.starts_with(names.layer_prefix)) {
      TUTTI_RETURN_IF_ERROR(source.find_weight(tensor.name).status());
    }
  }
  return {};
}

}  // namespace

Result<MemoryPlan> plan_model(const LoadOptions& options) {
  const auto& root = options.ollama_root;
  TUTTI_ASSIGN_OR_RETURN(const ModelLocation location,
                         resolve_model(options.model, root.empty() ? default_ollama_root() : root));
  TUTTI_ASSIGN_OR_RETURN(const formats::ModelSource source,
                         formats::ModelSource::open(location.path));
  TUTTI_ASSIGN_OR_RETURN(const model::ModelDescription description, model::describe_model(source));
  device::Ops::Options chosen = ops_options(options, source);
  chosen.num_threads = 1;  // nothing is computed
  TUTTI_ASSIGN_OR_RETURN(const std::unique_ptr<device::Ops> ops, device::Ops::create(chosen));
  TUTTI_RETURN_IF_ERROR(check_types(source, description.tensor_names));
  return plan_memory(needs_before_loading(options, source, description, *ops));
}

}  // namespace tutti::store
