#include "store/plan_model.h"

#include <algorithm>

#include "formats/model_source.h"
#include "model/description.h"
#include "model/rope.h"
#include "store/model_name.h"
#include "store/spill_plan.h"
#include "tensor/dtype.h"

namespace tutti::store {
namespace {

// The class int8 keeps its weights as bytes, with their scales: at most nine bits each.
std::size_t bytes_in_memory(const TensorView& tensor, device::ComputeClass compute_class) {
  const std::size_t in_file = tensor.bytes.size();
  if (compute_class != device::ComputeClass::kInt8) return in_file;
  std::size_t count = 1;
  for (const std::int64_t size : tensor.shape) count *= static_cast<std::size_t>(size);
  return in_file < count ? count / 8 * 9 : in_file;
}

std::size_t estimate_scratch(const LoadOptions& options, const model::ModelDescription& model,
                             int max_model_len) {
  const auto rows = static_cast<std::size_t>(std::max(options.token_budget, options.max_running));
  const auto logit_rows = static_cast<std::size_t>(options.max_running);
  const auto size = [](int number) { return static_cast<std::size_t>(number); };
  const std::size_t width = size(model.hidden_size) + size(model.intermediate_size) +
                            size(model.num_heads + model.num_kv_heads) * size(model.head_dim);
  std::size_t bytes =
      (2 * rows * width + logit_rows * (size(model.hidden_size) + size(model.vocab_size))) *
      sizeof(float);
  for (const auto& rope : model.ropes) {
    bytes += model::RopeTableBuilder(rope, max_model_len).max_bytes();
  }
  return bytes;
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
    needs.weights += bytes_in_memory(tensor, ops.compute_class());
  }
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
  MemoryNeeds needs = needs_before_loading(options, source, description, *ops);
  TUTTI_ASSIGN_OR_RETURN(const MemoryPlan estimate, plan_memory(needs));
  needs.scratch = estimate_scratch(options, description, estimate.max_model_len);
  needs.model_context = estimate.max_model_len;
  return plan_memory(needs);
}

}  // namespace tutti::store
