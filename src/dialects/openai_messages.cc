#include "dialects/openai_messages.h"

#include <fmt/format.h>

#include <boost/json.hpp>

#include "dialects/message_fields.h"

namespace tutti::dialects::openai {
namespace {

constexpr std::size_t kMaxParts = 1024;

// {"type": "text", "text": …}
Status read_part(const FieldInput& input, std::string& text) {
  TUTTI_ASSIGN_OR_RETURN(const json::object* part, read_object(input));
  const std::string type_path = input.path + ".type";
  const json::value* type = part->if_contains("type");
  if (type == nullptr || !type->is_string()) {
    return invalid_argument(type_path, fmt::format("`{}` must be a string", type_path));
  }
  if (type->get_string() != "text") {
    for (std::string_view known : {"image_url", "input_image", "image", "input_audio", "audio_url",
                                   "video_url", "file", "refusal"}) {
      if (type->get_string() != known) continue;
      return unsupported(
          fmt::format("`{}`: content of type {} is not supported, only text", type_path, known),
          type_path);
    }
    return wrong_value({*type, type_path}, "\"text\"");
  }
  static const std::vector<Field<std::string>> fields = {
      {{"type", Support::kHonoured, "", ""},
       [](const FieldInput&, std::string&) { return Status(); }},
      string_field<std::string>(
          "text", kMaxTextBytes, [](std::string& s) -> std::string& { return s; }, ""),
  };
  TUTTI_RETURN_IF_ERROR(read_fields(*part, fields, input.path, text));
  if (has_field(*part, "text")) return {};
  return invalid_argument(input.path + ".text", fmt::format("`{}.text` is required", input.path));
}

Status read_content(const FieldInput& input, MessageDraft& message) {
  message.content.emplace();
  if (input.value.is_string()) return read_string(input, kMaxTextBytes, *message.content);
  if (!input.value.is_array()) return wrong_value(input, "a string or a list of text parts");
  TUTTI_ASSIGN_OR_RETURN(const json::array* parts, read_array(input, kMaxParts));
  for (std::size_t i = 0; i < parts->size(); ++i) {
    std::string text;
    TUTTI_RETURN_IF_ERROR(read_part({(*parts)[i], fmt::format("{}[{}]", input.path, i)}, text));
    if (i > 0) *message.content += '\n';
    *message.content += text;
  }
  return {};
}

Status read_reasoning(const FieldInput& input, MessageDraft& message) {
  std::string text;
  TUTTI_RETURN_IF_ERROR(read_string(input, kMaxTextBytes, text));
  if (!message.reasoning.empty() && message.reasoning != text) {
    return invalid_argument(input.path,
                            fmt::format("`{}` differs from its other name", input.path));
  }
  message.reasoning = std::move(text);
  return {};
}

const std::vector<Field<MessageDraft>>& message_fields() {
  static const std::vector<Field<MessageDraft>> table = {
      {{"role", Support::kHonoured, "system, developer, user, assistant or tool",
        "required; developer counts as system"},
       [](const FieldInput& input, MessageDraft& m) {
         return read_role(input, {"system", "developer", "user", "assistant", "tool"}, m);
       }},
      {{"content", Support::kHonoured, "string, or list of <= 1024 parts {type: \"text\", text}",
        "parts are joined by line feeds; may be absent from an assistant's message; other types "
        "of parts are refused"},
       read_content},
      string_field<MessageDraft>(
          "name", kMaxNameBytes, [](MessageDraft& m) -> std::string& { return m.name; },
          "for the chat template"),
      {{"tool_calls", Support::kHonoured,
        "list of <= 128 {id, type: \"function\", function: {name, arguments}}",
        "calls that were made earlier, for the chat template"},
       [](const FieldInput& input, MessageDraft& m) {
         return read_tool_calls(input, ArgumentsForm::kObjectOrString, m);
       }},
      string_field<MessageDraft>(
          "tool_call_id", kMaxNameBytes,
          [](MessageDraft& m) -> std::string& { return m.tool_call_id; }, "for the chat template"),
      {{"reasoning_content", Support::kHonoured, "string", "for the chat template"},
       read_reasoning},
      {{"reasoning", Support::kHonoured, "string",
        "another name of reasoning_content; if both are given they must be equal"},
       read_reasoning},
      refused_field<MessageDraft>("refusal", "\"\"", "not built"),
      refused_field<MessageDraft>("annotations", "[]", "not built"),
      refused_field<MessageDraft>("audio", "", "text only"),
      refused_field<MessageDraft>("images", "[]", "text only"),
      refused_field<MessageDraft>("function_call", "", "use tool_calls"),
      refused_field<MessageDraft>("provider_specific_fields", "{}", "not built"),
  };
  return table;
}

}  // namespace

Status read_messages(const FieldInput& input, json::array& messages) {
  const json::array* list = input.value.if_array();
  if (list != nullptr && list->empty()) return wrong_value(input, "a list of at least one message");
  const MessageRules rules{message_fields(), true, true};
  return dialects::read_messages(input, rules, messages);
}

std::vector<FieldDoc> message_field_docs() { return docs_of(message_fields()); }

}  // namespace tutti::dialects::openai
