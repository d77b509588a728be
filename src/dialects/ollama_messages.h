// Messages of Ollama's /api/chat, checked and put in the shape that chat templates read.
#pragma once

#include "dialects/field_reader.h"

namespace tutti::dialects::ollama {

// Appends to `messages` one object for each message (see ChatPrompt::messages). `thinking` becomes
// `reasoning_content`, `tool_name` becomes `name`; an absent content becomes "".
Status read_messages(const FieldInput& input, json::array& messages);

// For the documentation.
std::vector<FieldDoc> message_field_docs();

}  // namespace tutti::dialects::ollama
