// What the messages of all dialects have in common: their fields, and the calls of tools that they
// carry. A dialect says what differs (MessageRules); the outcome is what chat templates read.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "dialects/field_reader.h"

namespace tutti::dialects {

inline constexpr std::size_t kMaxMessages = 4096;
inline constexpr std::size_t kMaxToolCalls = 128;  // of a message
inline constexpr std::size_t kMaxNameBytes = 256;
inline constexpr std::size_t kMaxTextBytes = std::size_t{64} << 20;

struct MessageDraft {
  std::string role;
  std::optional<std::string> content;
  std::string name, tool_call_id, reasoning;
  json::array tool_calls;
};

struct MessageRules {
  const std::vector<Field<MessageDraft>>& fields;
  bool requires_content = false;  // of all but an assistant's message
  bool only_assistants_call = false;
};

// `known` are the roles that may be written; "developer" becomes "system".
Status read_role(const FieldInput& input, const std::vector<std::string_view>& known,
                 MessageDraft& message);

// How a dialect writes a function call's arguments: as an object, or as JSON in a string as well.
enum class ArgumentsForm { kObject, kObjectOrString };

// A message's `tool_calls`, as templates read them: {id, type: "function", function: {name,
// arguments: object}}; no id when there was none.
Status read_tool_calls(const FieldInput& input, ArgumentsForm form, MessageDraft& message);

// Appends to `messages` one object for each message (see ChatPrompt::messages): {role, content,
// name?, reasoning_content?, tool_calls?, tool_call_id?}; an absent content becomes "".
Status read_messages(const FieldInput& input, const MessageRules& rules, json::array& messages);

}  // namespace tutti::dialects
