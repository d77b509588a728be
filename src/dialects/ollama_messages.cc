#include "dialects/ollama_messages.h"

#include "dialects/message_fields.h"

namespace tutti::dialects::ollama {
namespace {

const std::vector<Field<MessageDraft>>& message_fields() {
  static const std::vector<Field<MessageDraft>> table = {
      {{"role", Support::kHonoured, "system, user, assistant or tool",
        "required; an assistant's message at the end is the beginning of the answer"},
       [](const FieldInput& input, MessageDraft& m) {
         return read_role(input, {"system", "user", "assistant", "tool"}, m);
       }},
      string_field<MessageDraft>(
          "content", kMaxTextBytes,
          [](MessageDraft& m) -> std::string& { return m.content.emplace(); }, "may be absent"),
      string_field<MessageDraft>(
          "thinking", kMaxTextBytes, [](MessageDraft& m) -> std::string& { return m.reasoning; },
          "for the chat template, as `reasoning_content`"),
      {{"tool_calls", Support::kHonoured,
        "list of <= 128 {id, function: {index, name, arguments: object}}",
        "calls that were made earlier, for the chat template"},
       [](const FieldInput& input, MessageDraft& m) {
         return read_tool_calls(input, ArgumentsForm::kObject, m);
       }},
      string_field<MessageDraft>(
          "tool_name", kMaxNameBytes, [](MessageDraft& m) -> std::string& { return m.name; },
          "for the chat template, as `name`"),
      string_field<MessageDraft>(
          "tool_call_id", kMaxNameBytes,
          [](MessageDraft& m) -> std::string& { return m.tool_call_id; }, "for the chat template"),
      refused_field<MessageDraft>("images", "[]", "text only"),
  };
  return table;
}

}  // namespace

Status read_messages(const FieldInput& input, json::array& messages) {
  return dialects::read_messages(input, MessageRules{message_fields()}, messages);
}

std::vector<FieldDoc> message_field_docs() { return docs_of(message_fields()); }

}  // namespace tutti::dialects::ollama
