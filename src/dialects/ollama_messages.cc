#include "dialects/ollama_messages.h"

#include <fmt/format.h>

#include <boost/json.hpp>

namespace tutti::dialects::ollama {
namespace {

constexpr std::size_t kMaxMessages = 4096;
constexpr std::size_t kMaxToolCalls = 128;
constexpr std::size_t kMaxNameBytes = 256;
constexpr std::size_t kMaxTextBytes = std::size_t{64} << 20;

struct MessageDraft {
  std::string role, content, thinking, tool_name, tool_call_id;
  json::array tool_calls;
};

struct ToolCallDraft {
  std::string id, type, name, description;
  std::int64_t index = 0;
  json::value arguments = json::object();
};

Status read_role(const FieldInput& input, MessageDraft& message) {
  TUTTI_RETURN_IF_ERROR(read_string(input, kMaxNameBytes, message.role));
  for (std::string_view known : {"system", "user", "assistant", "tool"}) {
    if (message.role == known) return {};
  }
  return wrong_value(input, "one of system, user, assistant, tool");
}

Status read_arguments(const FieldInput& input, ToolCallDraft& call) {
  TUTTI_RETURN_IF_ERROR(read_object(input).status());
  call.arguments = input.value;
  return {};
}

Status read_function(const FieldInput& input, ToolCallDraft& call) {
  static const std::vector<Field<ToolCallDraft>> fields = {
      integer_field<ToolCallDraft>(
          "index", {0}, [](ToolCallDraft& c) -> std::int64_t& { return c.index; }, ""),
      string_field<ToolCallDraft>(
          "name", kMaxNameBytes, [](ToolCallDraft& c) -> std::string& { return c.name; }, ""),
      string_field<ToolCallDraft>(
          "description", kMaxTextBytes,
          [](ToolCallDraft& c) -> std::string& { return c.description; }, ""),
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
      {{"function", Support::kHonoured, "", ""}, read_function},
  };
  TUTTI_ASSIGN_OR_RETURN(const json::object* object, read_object(input));
  ToolCallDraft call;
  TUTTI_RETURN_IF_ERROR(read_fields(*object, fields, input.path, call));
  if (call.name.empty()) {
    const std::string path = input.path + ".function.name";
    return invalid_argument(path, fmt::format("`{}` is required", path));
  }
  json::object out{
      {"type", "function"},
      {"function", json::object{{"name", call.name}, {"arguments", std::move(call.arguments)}}}};
  if (!call.id.empty()) out["id"] = call.id;
  tool_calls.push_back(std::move(out));
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

const std::vector<Field<MessageDraft>>& message_fields() {
  static const std::vector<Field<MessageDraft>> table = {
      {{"role", Support::kHonoured, "system, user, assistant or tool",
        "required; an assistant's message at the end is the beginning of the answer"},
       read_role},
      string_field<MessageDraft>(
          "content", kMaxTextBytes, [](MessageDraft& m) -> std::string& { return m.content; },
          "may be absent"),
      string_field<MessageDraft>(
          "thinking", kMaxTextBytes, [](MessageDraft& m) -> std::string& { return m.thinking; },
          "for the chat template, as `reasoning_content`"),
      {{"tool_calls", Support::kHonoured,
        "list of <= 128 {id, function: {index, name, arguments: object}}",
        "calls that were made earlier, for the chat template"},
       read_tool_calls},
      string_field<MessageDraft>(
          "tool_name", kMaxNameBytes, [](MessageDraft& m) -> std::string& { return m.tool_name; },
          "for the chat template, as `name`"),
      string_field<MessageDraft>(
          "tool_call_id", kMaxNameBytes,
          [](MessageDraft& m) -> std::string& { return m.tool_call_id; }, "for the chat template"),
      refused_field<MessageDraft>("images", "[]", "text only"),
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
  json::object out{{"role", message.role}, {"content", message.content}};
  if (!message.thinking.empty()) out["reasoning_content"] = message.thinking;
  if (!message.tool_calls.empty()) out["tool_calls"] = std::move(message.tool_calls);
  if (!message.tool_name.empty()) out["name"] = message.tool_name;
  if (!message.tool_call_id.empty()) out["tool_call_id"] = message.tool_call_id;
  messages.push_back(std::move(out));
  return {};
}

}  // namespace

Status read_messages(const FieldInput& input, json::array& messages) {
  TUTTI_ASSIGN_OR_RETURN(const json::array* list, read_array(input, kMaxMessages));
  for (std::size_t i = 0; i < list->size(); ++i) {
    TUTTI_RETURN_IF_ERROR(
        read_message({(*list)[i], fmt::format("{}[{}]", input.path, i)}, messages));
  }
  return {};
}

std::vector<FieldDoc> message_field_docs() { return docs_of(message_fields()); }

}  // namespace tutti::dialects::ollama
