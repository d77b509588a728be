// The sizes of a model: where they are written, and what is refused.
#pragma once

#include <array>
#include <string_view>

#include "model/config_reader.h"
#include "model/description.h"

namespace tutti::model {

// A size that every model states.
struct SizeParameter {
  int ModelDescription::*member;
  std::string_view config_key;  // in config.json
  std::string_view gguf_key;    // after "<architecture>."
  int max;                      // the least is 1
};

inline constexpr int kMaxVocabulary = 1 << 24;
inline constexpr int kMaxPositions = 1 << 28;
inline constexpr int kMaxHeadDim = 1 << 12;
inline constexpr int kMaxHeads = 1 << 12;

inline constexpr std::array kSizeParameters = {
    SizeParameter{&ModelDescription::hidden_size, "hidden_size", "embedding_length", 1 << 20},
    SizeParameter{&ModelDescription::intermediate_size, "intermediate_size", "feed_forward_length",
                  1 << 22},
    SizeParameter{&ModelDescription::num_layers, "num_hidden_layers", "block_count", 1 << 12},
    SizeParameter{&ModelDescription::num_heads, "num_attention_heads", "attention.head_count",
                  kMaxHeads},
    SizeParameter{&ModelDescription::max_positions, "max_position_embeddings", "context_length",
                  kMaxPositions},
};

inline constexpr NumberRange kEpsilonRange = {0, 1};
inline constexpr NumberRange kRopeBaseRange = {1.0001, 1e18};
inline constexpr NumberRange kFactorRange = {1e-6, 1e6};      // of frequencies and contexts
inline constexpr NumberRange kMultiplierRange = {1e-9, 1e9};  // of activations

// Which file the description is from; its keys stand in messages.
struct KeyNames {
  std::string num_heads;
  std::string num_kv_heads;
  std::string head_dim;
  std::string rotary_dim;
};

// What only shows when the sizes are put together: key heads divide query heads, head_dim is even
// and rotary dimensions fit into it. Errors: kCorrupt naming the keys.
Status check_heads(const ModelDescription& description, const KeyNames& names);

}  // namespace tutti::model
