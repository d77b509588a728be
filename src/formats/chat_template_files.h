// Where chat templates stand in a model: found and read, not understood.
#pragma once

#include <boost/json/object.hpp>
#include <filesystem>
#include <map>
#include <string>

#include "base/result.h"
#include "formats/gguf.h"

namespace tutti::formats {

// By name; the usual one is "default".
using ChatTemplates = std::map<std::string, std::string, std::less<>>;

// A folder's templates. For "default", the first that exists of chat_template.jinja,
// chat_template.json and tokenizer_config.json's "chat_template", which is a string or a list of
// {"name", "template"}. additional_chat_templates/<name>.jinja add theirs.
// Errors: kCorrupt naming file and key for another shape, kTooLarge over 1 MiB.
Result<ChatTemplates> chat_templates_of(const std::filesystem::path& folder,
                                        const boost::json::object& tokenizer_config);

// A GGUF's: tokenizer.chat_template is "default", tokenizer.chat_template.<name> are the others.
Result<ChatTemplates> chat_templates_of(const GgufFile& file);

}  // namespace tutti::formats
