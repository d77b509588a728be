#include "model/bounds.h"

#include <fmt/format.h>

namespace tutti::model {

Status check_heads(const ModelDescription& description, const KeyNames& names) {
  if (description.num_heads % description.num_kv_heads != 0) {
    return corrupt(fmt::format("{} is {}, must be a multiple of {}, which is {}", names.num_heads,
                               description.num_heads, names.num_kv_heads,
                               description.num_kv_heads));
  }
  if (description.head_dim % 2 != 0) {
    return corrupt(fmt::format("{} is {}, must be even", names.head_dim, description.head_dim));
  }
  for (const RopeDescription& rope : description.ropes) {
    if (rope.rotary_dim < 2 || rope.rotary_dim > description.head_dim || rope.rotary_dim % 2 != 0) {
      return corrupt(fmt::format("{} gives {} rotary dimensions, must be even and in [2, {}]",
                                 names.rotary_dim, rope.rotary_dim, description.head_dim));
    }
  }
  return {};
}

}  // namespace tutti::model
