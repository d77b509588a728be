// A model in memory and its forward pass over a batch.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "base/result.h"
#include "core/ids.h"

namespace tutti::formats {
class ModelSource;
}
namespace tutti::device {
class KvCache;
class Ops;
struct KvShape;
}  // namespace tutti::device

namespace tutti::model {

struct ModelDescription;  // model/description.h

// Rows of one sequence in a step.
struct BatchSequence {
  std::span<const TokenId> tokens;  // at positions first_position, first_position + 1, ...
  Position first_position = 0;
  std::span<const BlockId> block_table;  // covers all positions up to the last row's
  int num_logit_rows = 0;                // the last so many rows get logits: 0, 1, or all
};

// Fraction done in [0, 1], called from the loading thread.
using LoadProgress = std::function<void(double)>;

// Thread safety: forward is called from one thread, the one that owns `ops`; the rest is constant.
class Model {
 public:
  // Reads the description and the weights. `source` and `ops` must outlive the model.
  // Errors name the tensor or key that is missing, of a wrong shape or out of bounds; an
  // architecture that is not known is refused by name.
  // `max_positions`: what a sequence may have (0: all that the model has); a model with LongRoPE
  // chooses its factors by it, once for all sequences.
  static Result<std::unique_ptr<Model>> load(const formats::ModelSource& source, device::Ops& ops,
                                             const LoadProgress& progress = {},
                                             int max_positions = 0);
  virtual ~Model() = default;

  virtual const ModelDescription& description() const = 0;
  virtual device::KvShape kv_shape() const = 0;
  // Bytes of weights: those repacked into memory of ours and those read from the mapped file.
  virtual std::size_t owned_bytes() const = 0;
  virtual std::size_t mapped_bytes() const = 0;
  // Bytes of scratch that forward needs for `num_rows` rows of which `num_logit_rows` get logits
  // (without the latter, all of them), rotary tables for all positions included.
  virtual std::size_t scratch_bytes(int num_rows, int num_logit_rows) const = 0;
  std::size_t scratch_bytes(int num_rows) const { return scratch_bytes(num_rows, num_rows); }

  // Computes the rows, writes their keys and values into `cache`, and gives the logits
  // [sum of num_logit_rows, vocab_size] in the sequences' order. The span stays valid until the
  // next call.
  virtual std::span<const float> forward(std::span<const BatchSequence> batch,
                                         device::KvCache& cache) = 0;
};

// The same before a model is loaded, without the tables.
std::size_t step_scratch_bytes(const ModelDescription& description, int num_rows,
                               int num_logit_rows);
// Bytes of rotary tables for each position.
std::size_t rope_position_bytes(const ModelDescription& description);

}  // namespace tutti::model
