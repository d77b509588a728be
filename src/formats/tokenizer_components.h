// The components of a tokenizer.json around the model; see tokenizer_json.h.
#pragma once

#include <boost/json/value.hpp>
#include <cstdint>
#include <limits>

#include "base/result.h"
#include "text/tokenizer_spec.h"

namespace tutti::formats {

inline constexpr std::int64_t kMaxTokenId = std::numeric_limits<std::int32_t>::max();

// Each reads one top-level field, which is not null, and appends to the spec; sequences are
// flattened. Errors as parse_tokenizer_json.
Status read_normalizer(const boost::json::value& value, text::TokenizerSpec& spec);
Status read_pre_tokenizer(const boost::json::value& value, text::TokenizerSpec& spec);
Status read_decoder(const boost::json::value& value, text::TokenizerSpec& spec);
Status read_post_processor(const boost::json::value& value, text::TokenizerSpec& spec);

}  // namespace tutti::formats
