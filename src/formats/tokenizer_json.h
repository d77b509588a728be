// Hugging Face's tokenizer.json, and the names of special tokens in tokenizer_config.json.
//
// Format: github.com/huggingface/tokenizers (serialisation of Tokenizer). Truncation and padding
// are not read: the server refuses what is too long. tokenizer_config.json's add_bos_token and
// add_eos_token are not read either: with a tokenizer.json its post-processor decides, as in
// transformers 5.
#pragma once

#include <boost/json/object.hpp>
#include <string_view>

#include "base/result.h"
#include "text/tokenizer_spec.h"

namespace tutti::formats {

// `config`: tokenizer_config.json, or empty.
// Errors: kCorrupt with the path to the field ("model.merges[17]") and what is expected there;
// kUnsupported naming a component that is not known.
Result<text::TokenizerSpec> parse_tokenizer_json(std::string_view bytes,
                                                 const boost::json::object& config = {});

}  // namespace tutti::formats
