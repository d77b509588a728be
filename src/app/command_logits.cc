#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "app/commands.h"
#include "base/file.h"
#include "device/ops.h"
#include "formats/model_source.h"
#include "formats/safetensors.h"
#include "model/description.h"
#include "model/model.h"
#include "store/loaded_model.h"
#include "store/model_name.h"

namespace tutti::app {
namespace {

Result<std::vector<TokenId>> checked_ids(const std::vector<int>& ids, int vocab_size,
                                         int max_positions) {
  if (static_cast<int>(ids.size()) > max_positions) {
    return invalid_argument("ids", fmt::format("--ids: {} tokens are more than the {} positions of "
                                               "the model's context",
                                               ids.size(), max_positions));
  }
  for (const int id : ids) {
    if (id < 0 || id >= vocab_size) {
      return invalid_argument(
          "ids", fmt::format("--ids: {} is outside the vocabulary, [0, {})", id, vocab_size));
    }
  }
  return ids;
}

Status write_logits(const LogitsOptions& options) {
  TUTTI_ASSIGN_OR_RETURN(const store::LoadOptions load,
                         make_load_options(options.name, options.model));
  const auto root = load.ollama_root.empty() ? store::default_ollama_root() : load.ollama_root;
  TUTTI_ASSIGN_OR_RETURN(const auto location, store::resolve_model(options.name, root));
  TUTTI_ASSIGN_OR_RETURN(const auto source, formats::ModelSource::open(location.path));
  TUTTI_ASSIGN_OR_RETURN(const auto ops, device::Ops::create(store::ops_options(load, source)));
  // No more positions than the prompt's, so that LongRoPE's factors are those of its length.
  TUTTI_ASSIGN_OR_RETURN(
      const auto model, model::Model::load(source, *ops, {}, static_cast<int>(options.ids.size())));
  const model::ModelDescription& description = model->description();
  TUTTI_ASSIGN_OR_RETURN(const auto tokens, checked_ids(options.ids, description.vocab_size,
                                                        description.max_positions));

  const int num_tokens = static_cast<int>(tokens.size());
  const int num_blocks = (num_tokens + kBlockSize - 1) / kBlockSize;
  TUTTI_ASSIGN_OR_RETURN(const auto cache, ops->make_kv_cache(model->kv_shape(), num_blocks));
  std::vector<BlockId> block_table;
  for (int i = 0; i < num_blocks; ++i) block_table.emplace_back(i);
  const model::BatchSequence sequence{.tokens = tokens,
                                      .first_position = 0,
                                      .block_table = block_table,
                                      .num_logit_rows = num_tokens};
  const std::span<const float> logits = model->forward({&sequence, 1}, *cache);
  const TensorView view{.name = "logits",
                        .dtype = DType::kF32,
                        .shape = {num_tokens, description.vocab_size},
                        .bytes = std::as_bytes(logits)};
  return formats::write_safetensors(options.out, {&view, 1});
}

}  // namespace

int logits(const LogitsOptions& options) {
  const Status status = write_logits(options);
  return status.ok() ? 0 : report(status);
}

}  // namespace tutti::app
