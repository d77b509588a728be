// Messages of OpenAI's chat completions, checked and put in the shape that chat templates read.
#pragma once

#include "dialects/field_reader.h"

namespace tutti::dialects::openai {

// Appends to `messages` one object for each message (see ChatPrompt::messages). `developer` becomes
// `system`; text parts are joined by line feeds, as vLLM does; arguments of tool calls become
// objects; `reasoning` and `reasoning_content` both become `reasoning_content`; an absent content
// becomes "".
Status read_messages(const FieldInput& input, json::array& messages);

// For the documentation.
std::vector<FieldDoc> message_field_docs();

}  // namespace tutti::dialects::openai
