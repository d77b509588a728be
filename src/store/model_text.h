// The text side of a model on disk: its tokenizer and its chat template.
#pragma once

#include <boost/json/object.hpp>
#include <memory>

#include "base/result.h"

namespace tutti::formats {
class ModelSource;
}
namespace tutti::text {
class ChatTemplate;
class Tokenizer;
}  // namespace tutti::text

namespace tutti::store {

// From a folder's tokenizer.json (with tokenizer_config.json) or a GGUF's metadata.
// Errors: kNotFound when there is no tokenizer; those of the formats, naming the file.
Result<std::unique_ptr<text::Tokenizer>> load_tokenizer(const formats::ModelSource& source);

// The model's own template, or ChatML with a warning in the log when it has none.
// Errors: those of ChatTemplate::parse.
Result<std::unique_ptr<text::ChatTemplate>> load_chat_template(const formats::ModelSource& source);

// bos_token, eos_token, unk_token and pad_token as chat templates read them; those the model has.
boost::json::object special_token_variables(const text::Tokenizer& tokenizer);

}  // namespace tutti::store
