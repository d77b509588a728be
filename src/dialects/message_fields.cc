#include "dialects/message_fields.h"

#include <fmt/format.h>

#include <boost/json.hpp>

namespace tutti::dialects {
namespace {

struct ToolCallDraft {
  std::string id, type, name, description;
  std::int64_t index = 0;
  json::value arguments = json::object();
};

Status required(const std::string& path) {
  return invalid_argument(path, fmt::format("`{}` is required", path));
}

Status read_arguments_object(const FieldInput& input, ToolCallDraft& call) {
  TUTTI_RETURN_IF_ERROR(read_object(input).status());
  call.arguments = input.value;
  return {};
}

// JSON in a string; templates want the object.
Status read_arguments(const FieldInput& input, ToolCallDraft& call) {
  if (input.value.is_object()) return read_arguments_object(input, call);
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

std::vector<Field<ToolCallDraft>> function_fields(ArgumentsForm form) {
  return {
      integer_field<ToolCallDraft>(
          "index", {0}, [](ToolCallDraft& c) -> std::int64_t& { return c.index; }, ""),
      string_field<ToolCallDraft>(
          "name", kMaxNameBytes, [](ToolCallDraft& c) -> std::string& { return c.name; }, ""),
      string_field<ToolCallDraft>(
          "description", kMaxTextBytes,
          [](ToolCallDraft& c) -> std::string& { return c.description; }, ""),
      {{"arguments", Support::kHonoured, "", ""},
       form == ArgumentsForm::kObject ? read_arguments_object : read_arguments},
  };
}

Status read_function(const FieldInput& input, ArgumentsForm form, ToolCallDraft& call) {
  static const std::vector<Field<ToolCallDraft>> with_objects =
      function_fields(ArgumentsForm::kObject);
  static const std::vector<Field<ToolCallDraft>> with_strings =
      function_fields(ArgumentsForm::kObjectOrString);
  TUTTI_ASSIGN_OR_RETURN(const json::object* function, read_object(input));
  return read_fields(*function, form == ArgumentsForm::kObject ? with_objects : with_strings,
                     input.path, call);
}

std::vector<Field<ToolCallDraft>> tool_call_fields(ArgumentsForm form) {
  return {
      string_field<ToolCallDraft>(
          "id", kMaxNameBytes, [](ToolCallDraft& c) -> std::string& { return c.id; }, ""),
      string_field<ToolCallDraft>(
          "type", kMaxNameBytes, [](ToolCallDraft& c) -> std::string& { return c.type; }, ""),
      integer_field<ToolCallDraft>(
          "index", {0}, [](ToolCallDraft& c) -> std::int64_t& { return c.index; }, ""),
      {{"function", Support::kHonoured, "", ""},
       [form](const FieldInput& input, ToolCallDraft& c) { return read_function(input, form, c); }},
  };
}

Status read_tool_call(const FieldInput& input, ArgumentsForm form, json::array& tool_calls) {
  static const std::vector<Field<ToolCallDraft>> with_objects =
      tool_call_fields(ArgumentsForm::kObject);
  static const std::vector<Field<ToolCallDraft>> with_strings =
      tool_call_fields(ArgumentsForm::kObjectOrString);
  TUTTI_ASSIGN_OR_RETURN(const json::object* object, read_object(input));
  ToolCallDraft call;
  TUTTI_RETURN_IF_ERROR(read_fields(
      *object, form == ArgumentsForm::kObject ? with_objects : with_strings, input.path, call));
  if (!call.type.empty() && call.type != "function") {
    const std::string path = input.path + ".type";
    return invalid_argument(path, fmt::format("`{}` must be \"function\"", path));
  }
  if (call.name.empty()) return required(input.path + ".function.name");
  json::object out;
  if (!call.id.empty()) out["id"] = call.id;
  out["type"] = "function";
  out["function"] = json::object{{"name", call.name}, {"arguments", std::move(call.arguments)}};
  tool_calls.push_back(std::move(out));
  return {};
}

Status read_message(const FieldInput& input, const MessageRules& rules, json::array& messages) {
  TUTTI_ASSIGN_OR_RETURN(const json::object* object, read_object(input));
  MessageDraft message;
  TUTTI_RETURN_IF_ERROR(read_fields(*object, rules.fields, input.path, message));
  if (message.role.empty()) return required(input.path + ".role");
  const bool is_assistants = message.role == "assistant";
  if (rules.requires_content && !message.content && !is_assistants) {
    return required(input.path + ".content");
  }
  if (rules.only_assistants_call && !message.tool_calls.empty() && !is_assistants) {
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

Status read_role(const FieldInput& input, const std::vector<std::string_view>& known,
                 MessageDraft& message) {
  TUTTI_RETURN_IF_ERROR(read_string(input, kMaxNameBytes, message.role));
  const bool is_known = std::find(known.begin(), known.end(), message.role) != known.end();
  if (!is_known) return wrong_value(input, fmt::format("one of {}", fmt::join(known, ", ")));
  if (message.role == "developer") message.role = "system";
  return {};
}

Status read_tool_calls(const FieldInput& input, ArgumentsForm form, MessageDraft& message) {
  TUTTI_ASSIGN_OR_RETURN(const json::array* calls, read_array(input, kMaxToolCalls));
  for (std::size_t i = 0; i < calls->size(); ++i) {
    TUTTI_RETURN_IF_ERROR(read_tool_call({(*calls)[i], fmt::format("{}[{}]", input.path, i)}, form,
                                         message.tool_calls));
  }
  return {};
}

Status read_messages(const FieldInput& input, const MessageRules& rules, json::array& messages) {
  TUTTI_ASSIGN_OR_RETURN(const json::array* list, read_array(input, kMaxMessages));
  for (std::size_t i = 0; i < list->size(); ++i) {
    TUTTI_RETURN_IF_ERROR(
        read_message({(*list)[i], fmt::format("{}[{}]", input.path, i)}, rules, messages));
  }
  return {};
}

}  // namespace tutti::dialects
