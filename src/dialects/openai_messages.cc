#include "dialects/openai_messages.h"

#include <fmt/format.h>

#include <boost/json.hpp>
#include <optional>

namespace tutti::dialects::openai {
namespace {

constexpr std::size_t kMaxMessages = 4096;
constexpr std::size_t kMaxParts = 1024;
constexpr std::size_t kMaxToolCalls = 128;
constexpr std::size_t kMaxNameBytes = 256;
constexpr std::size_t kMaxTextBytes = std::size_t{64} << 20;

struct MessageDraft {
  std::string role;
  std::optional<std::string> content;
  std::string name, tool_call_id, reasoning;
  json::array tool_calls;
};

struct ToolCallDraft {
  std::string id, type, name;
  std::int64_t index = 0;
  json::value arguments = json::object();
};

Status read_role(const FieldInput& input, MessageDraft& message) {
  TUTTI_RETURN_IF_ERROR(read_string(input, kMaxNameBytes, message.role));
  if (message.role == "developer") message.role = "system";
  for (std::string_view known : {"system", "user", "assistant", "tool"}) {
    if (message.role == known) return {};
  }
  return wrong_value(input, "one of system, developer, user, assistant, tool");
}

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

// Arguments are JSON in a string; templates want the object.
Status read_arguments(const FieldInput& input, ToolCallDraft& call) {
  if (input.value.is_object()) {
    call.arguments = input.value;
    return {};
  }
  std::string text;
  TUTTI_RETURN_IF_ERROR(read_string(input, kMaxTextBytes, text));
  if (text.empty()) return {};
  Result<json::value> parsed = parse_json(text);
  if (!parsed.ok() || !parsed->is_object()) {
    return invalid_argument(
        input.path, fmt::format("`{}` must be a JSON object written as a string{}", input.path,
                                parsed.ok() ? "" : ": " + parsed.status().message()));
  }
  call.arguments = std::move(*parsed);
  return {};
}

Status read_function(const FieldInput& input, ToolCallDraft& call) {
  static const std::vector<Field<ToolCallDraft>> fields = {
      string_field<ToolCallDraft>(
          "name", kMaxNameBytes, [](ToolCallDraft& c) -> std::string& { return c.name; }, ""),
      {{"arguments", Support::kHonoured, "", ""}, read_arguments},
  };
  TUTTI_ASSIGN_OR_RETURN(const json::object* function, read_object(input));
  return read_fields(*function, fields, input.path, call);
}

Status read_tool_call(const FieldInput& input, json::array& tool_calls) {
  static const std::vector<Field<ToolCallDraft>> fields = {
      string_field<ToolCallDraft>(
          "id", kMaxNameBytes, [](ToolCallDraft& c) -> std::string& { return c.id; }, ""),
      string_field<ToolCallDraft>(
          "type", kMaxNameBytes, [](ToolCallDraft& c) -> std::string& { return c.type; }, ""),
      integer_field<ToolCallDraft>(
          "index", {0}, [](ToolCallDraft& c) -> std::int64_t& { return c.index; }, ""),
      {{"function", Support::kHonoured, "", ""}, read_function},
  };
  TUTTI_ASSIGN_OR_RETURN(const json::object* object, read_object(input));
  ToolCallDraft call;
  TUTTI_RETURN_IF_ERROR(read_fields(*object, fields, input.path, call));
  if (!call.type.empty() && call.type != "function") {
    const std::string path = input.path + ".type";
    return invalid_argument(path, fmt::format("`{}` must be \"function\"", path));
  }
  if (call.name.empty()) {
    const std::string path = input.path + ".function.name";
    return invalid_argument(path, fmt::format("`{}` is required", path));
  }
  tool_calls.push_back(json::object{
      {"id", call.id},
      {"type", "function"},
      {"function", json::object{{"name", call.name}, {"arguments", std::move(call.arguments)}}}});
  return {};
}

Status read_tool_calls(const FieldInput& input, MessageDraft& message) {
  TUTTI_ASSIGN_OR_RETURN(const json::array* calls, read_array(input, kMaxToolCalls));
  for (std::size_t i = 0; i < calls->size(); ++i) {
    TUTTI_RETURN_IF_ERROR(
        read_tool_call({(*calls)[i], fmt::format("{}[{}]", input.path, i)}, message.tool_calls));
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
       read_role},
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
       read_tool_calls},
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

Status read_message(const FieldInput& input, json::array& messages) {
  TUTTI_ASSIGN_OR_RETURN(const json::object* object, read_object(input));
  MessageDraft message;
  TUTTI_RETURN_IF_ERROR(read_fields(*object, message_fields(), input.path, message));
  if (message.role.empty()) {
    return invalid_argument(input.path + ".role", fmt::format("`{}.role` is required", input.path));
  }
  if (!message.content && message.role != "assistant") {
    return invalid_argument(input.path + ".content",
                            fmt::format("`{}.content` is required", input.path));
  }
  if (!message.tool_calls.empty() && message.role != "assistant") {
    return invalid_argument(
        input.path + ".tool_calls",
        fmt::format("`{}.tool_calls` belongs to an assistant's message", input.path));
  }
  json::object out{{"role", message.role}, {"content", message.content.value_or("")}};
  if (!message.name.empty()) out["name"] = message.name;
  if (!message.reasoning.empty()) out["reasoning_content"] = message.reasoning;
  if (!message.tool_calls.empty()) out["tool_calls"] = std::move(message.tool_calls);
  if (!message.tool_call_id.empty()) out["tool_call_id"] = message.tool_call_id;
  messages.push_back(std::move(out));
  return {};
}

}  // namespace

Status read_messages(const FieldInput& input, json::array& messages) {
  TUTTI_ASSIGN_OR_RETURN(const json::array* list, read_array(input, kMaxMessages));
  if (list->empty()) return wrong_value(input, "a list of at least one message");
  for (std::size_t i = 0; i < list->size(); ++i) {
    TUTTI_RETURN_IF_ERROR(
        read_message({(*list)[i], fmt::format("{}[{}]", input.path, i)}, messages));
  }
  return {};
}

std::vector<FieldDoc> message_field_docs() { return docs_of(message_fields()); }

}  // namespace tutti::dialects::openai
