#include "server/conversation.h"

#include <algorithm>

namespace tutti::server {
namespace {

namespace json = boost::json;

std::string string_member(const json::value& message, std::string_view name) {
  if (!message.is_object()) return {};
  const json::value* value = message.get_object().if_contains(name);
  return value && value->is_string() ? json::value_to<std::string>(*value) : std::string();
}

std::string trim(const std::string& text) {
  constexpr const char* kSpace = " \t\n\r\f\v";
  const std::size_t first = text.find_first_not_of(kSpace);
  if (first == std::string::npos) return {};
  return text.substr(first, text.find_last_not_of(kSpace) - first + 1);
}

// Cuts the text and the spans that reach beyond it.
void cut_at(text::RenderedPrompt& rendered, std::size_t end) {
  rendered.text.resize(end);
  while (!rendered.content_spans.empty() && rendered.content_spans.back().begin >= end) {
    rendered.content_spans.pop_back();
  }
  if (!rendered.content_spans.empty()) {
    rendered.content_spans.back().end = std::min(rendered.content_spans.back().end, end);
  }
}

Status cut_after_final_message(const json::array& messages, text::RenderedPrompt& rendered) {
  const std::string final_message =
      messages.empty() ? std::string() : string_member(messages.back(), "content");
  const std::string trimmed = trim(final_message);
  const std::size_t begin = rendered.text.rfind(trimmed);
  if (trimmed.empty() || begin == std::string::npos) {
    return invalid_argument("continue_final_message",
                            "continue_final_message is set but the chat template does not write "
                            "the final message's text");
  }
  // A template that keeps white space at the end keeps it here too.
  const std::string_view tail =
      std::string_view(final_message)
          .substr(std::min(final_message.find(trimmed) + trimmed.size(), final_message.size()));
  const std::size_t end = begin + trimmed.size();
  const bool keeps_tail = rendered.text.compare(end, tail.size(), tail) == 0;
  cut_at(rendered, end + (keeps_tail ? tail.size() : 0));
  return {};
}

void append(text::RenderedPrompt&& part, text::RenderedPrompt& whole) {
  const std::size_t offset = whole.text.size();
  whole.text += part.text;
  for (text::TextSpan span : part.content_spans) {
    span.begin += offset;
    span.end += offset;
    if (!whole.content_spans.empty() && whole.content_spans.back().end == span.begin) {
      whole.content_spans.back().end = span.end;
    } else {
      whole.content_spans.push_back(span);
    }
  }
}

// Stands for the end of .Response in a template's output; no text that a user can type holds it.
constexpr std::string_view kResponseEnd = "\x01tutti:response-end\x02";

// One turn. An open turn ends where the answer goes on; others are rendered whole.
struct Turn {
  std::string system, prompt, response;
  bool empty() const { return prompt.empty() && response.empty(); }
};

Result<text::RenderedPrompt> render_turn(const Turn& turn, const text::GoTemplate& go_template,
                                         bool open) {
  json::object data{{"System", turn.system}, {"Prompt", turn.prompt}, {"Response", turn.response}};
  if (open) data["Response"] = turn.response + std::string(kResponseEnd);
  TUTTI_ASSIGN_OR_RETURN(text::RenderedPrompt rendered, go_template.render(data));
  if (!open) return rendered;
  const std::size_t end = rendered.text.find(kResponseEnd);
  if (end != std::string::npos) {
    cut_at(rendered, end);
  } else {  // the template does not place the answer: it comes last
    append({turn.response, {{0, turn.response.size()}}}, rendered);
  }
  return rendered;
}

// Neighbours of one role become one message, as Ollama's collate does.
json::array merge_neighbours(const json::array& messages) {
  json::array merged;
  for (const json::value& message : messages) {
    const std::string role = string_member(message, "role");
    if (!merged.empty() && string_member(merged.back(), "role") == role) {
      const std::string joined =
          string_member(merged.back(), "content") + "\n\n" + string_member(message, "content");
      merged.back().get_object()["content"] = joined;
    } else {
      merged.push_back(message);
    }
  }
  return merged;
}

Result<text::RenderedPrompt> render_turns(const json::array& messages,
                                          const text::GoTemplate& go_template) {
  text::RenderedPrompt whole;
  Turn turn;
  const auto close_turn = [&]() -> Status {
    TUTTI_ASSIGN_OR_RETURN(text::RenderedPrompt part, render_turn(turn, go_template, false));
    append(std::move(part), whole);
    turn = {};
    return {};
  };
  for (const json::value& message : messages) {
    const std::string role = string_member(message, "role");
    const std::string content = string_member(message, "content");
    if (role == "system") {
      if (!turn.empty()) TUTTI_RETURN_IF_ERROR(close_turn());
      turn.system = content;
    } else if (role == "assistant") {
      turn.response = content;
    } else {
      if (!turn.response.empty()) TUTTI_RETURN_IF_ERROR(close_turn());
      turn.prompt = content;
    }
  }
  TUTTI_ASSIGN_OR_RETURN(text::RenderedPrompt last, render_turn(turn, go_template, true));
  append(std::move(last), whole);
  return whole;
}

// The fields of Ollama's api.Message.
json::array go_messages(const json::array& messages) {
  json::array result;
  for (const json::value& message : messages) {
    result.push_back(json::object{{"Role", string_member(message, "role")},
                                  {"Content", string_member(message, "content")},
                                  {"Thinking", string_member(message, "reasoning_content")}});
  }
  return result;
}

}  // namespace

Result<text::RenderedPrompt> render_with_chat_template(const ChatPrompt& chat,
                                                       const text::ChatTemplate& chat_template,
                                                       const json::object& model_variables) {
  json::object variables = model_variables;
  for (const auto& [key, value] : chat.template_variables) variables[key] = value;
  variables["messages"] = chat.messages;
  variables["add_generation_prompt"] = chat.add_generation_prompt && !chat.continue_final_message;
  TUTTI_ASSIGN_OR_RETURN(text::RenderedPrompt rendered, chat_template.render(variables));
  if (chat.continue_final_message) {
    TUTTI_RETURN_IF_ERROR(cut_after_final_message(chat.messages, rendered));
  }
  return rendered;
}

Result<text::RenderedPrompt> render_with_go_template(const ChatPrompt& chat,
                                                     const text::GoTemplate& go_template) {
  const json::array messages = merge_neighbours(chat.messages);
  if (!go_template.mentions_field("Messages")) return render_turns(messages, go_template);
  std::string system;
  for (const json::value& message : messages) {
    if (string_member(message, "role") != "system") continue;
    system += (system.empty() ? "" : "\n\n") + string_member(message, "content");
  }
  json::object data{{"System", system}, {"Messages", go_messages(messages)}, {"Response", ""}};
  TUTTI_ASSIGN_OR_RETURN(text::RenderedPrompt rendered, go_template.render(data));
  if (chat.continue_final_message) {
    TUTTI_RETURN_IF_ERROR(cut_after_final_message(chat.messages, rendered));
  }
  return rendered;
}

Result<text::RenderedPrompt> render_templated(const TemplatedPrompt& templated) {
  auto go_template = text::GoTemplate::parse(templated.source);
  if (!go_template.ok()) {
    return Status(go_template.status().kind(), go_template.status().message(), "template");
  }
  return render_turn({templated.system, templated.prompt, ""}, *go_template, true);
}

ChatPrompt with_default_system(const ChatPrompt& chat, const std::string& system) {
  const bool has_system = std::any_of(
      chat.messages.begin(), chat.messages.end(),
      [](const json::value& message) { return string_member(message, "role") == "system"; });
  if (has_system || system.empty()) return chat;
  ChatPrompt result = chat;
  result.messages.clear();
  result.messages.push_back(json::object{{"role", "system"}, {"content", system}});
  for (const json::value& message : chat.messages) result.messages.push_back(message);
  return result;
}

}  // namespace tutti::server
