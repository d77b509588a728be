#include "server/prompt_builder.h"

#include <fmt/format.h>

#include <algorithm>

#include "server/conversation.h"
#include "text/chat_template.h"
#include "text/go_template.h"
#include "text/tokenizer.h"

namespace tutti::server {
namespace {

namespace json = boost::json;

Status check_ids(const std::vector<TokenId>& ids, const char* field, int vocab_size) {
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0 || ids[i] >= vocab_size) {
      return invalid_argument(field,
                              fmt::format("{}[{}] is {}, must be in [0, {}): the model has {} "
                                          "tokens",
                                          field, i, ids[i], vocab_size, vocab_size));
    }
  }
  return {};
}

BuiltPrompt tokenize(const text::RenderedPrompt& rendered, bool add_special_tokens,
                     const std::vector<TokenId>& context, const store::LoadedModel& model) {
  BuiltPrompt built{context, rendered.text};
  const std::vector<TokenId> ids =
      model.tokenizer->encode(rendered.text, {add_special_tokens, true}, rendered.content_spans);
  built.tokens.insert(built.tokens.end(), ids.begin(), ids.end());
  return built;
}

// Ollama puts the tokenizer's start token before what its templates give, unless they write it
// themselves or the conversation goes on from tokens that begin with it.
bool go_template_needs_start(const text::RenderedPrompt& rendered, const store::LoadedModel& model,
                             const std::vector<TokenId>& context) {
  const std::string& bos = model.tokenizer->bos_token();
  return context.empty() && (bos.empty() || !rendered.text.starts_with(bos));
}

Result<BuiltPrompt> build_chat(const ChatPrompt& chat, const store::LoadedModel& model) {
  if (model.go_template) {
    TUTTI_ASSIGN_OR_RETURN(const text::RenderedPrompt rendered,
                           render_with_go_template(chat, *model.go_template));
    return tokenize(rendered, go_template_needs_start(rendered, model, chat.context), chat.context,
                    model);
  }
  TUTTI_ASSIGN_OR_RETURN(
      const text::RenderedPrompt rendered,
      render_with_chat_template(chat, *model.chat_template, model.template_variables));
  return tokenize(rendered, chat.add_special_tokens, chat.context, model);
}

bool has_role(const json::value& message, std::string_view name) {
  const json::value* role =
      message.is_object() ? message.get_object().if_contains("role") : nullptr;
  return role && role->is_string() && role->get_string() == name;
}

// The messages that a shortened conversation may begin with, oldest first: users', because many
// templates refuse another order than user, assistant, user. The last message when there is none.
std::vector<std::size_t> find_beginnings(const json::array& messages) {
  std::vector<std::size_t> beginnings;
  bool is_first = true;
  for (std::size_t i = 0; i < messages.size(); ++i) {
    if (has_role(messages[i], "system")) continue;
    if (!is_first && has_role(messages[i], "user")) beginnings.push_back(i);
    is_first = false;
  }
  if (beginnings.empty() && messages.size() > 1) beginnings.push_back(messages.size() - 1);
  return beginnings;
}

// The conversation from message `begin` on, and the system messages before it.
ChatPrompt beginning_at(const ChatPrompt& chat, std::size_t begin) {
  ChatPrompt shorter = chat;
  shorter.messages.clear();
  for (std::size_t i = 0; i < chat.messages.size(); ++i) {
    if (i >= begin || has_role(chat.messages[i], "system")) {
      shorter.messages.push_back(chat.messages[i]);
    }
  }
  return shorter;
}

// Finds the oldest beginning with which the prompt fits, by bisection: each render is as long as
// the conversation. When nothing fits, the shortest is returned.
Result<BuiltPrompt> build_shortened_chat(const ChatPrompt& chat, const store::LoadedModel& model,
                                         std::size_t max_tokens) {
  TUTTI_ASSIGN_OR_RETURN(BuiltPrompt built, build_chat(chat, model));
  const std::vector<std::size_t> beginnings = find_beginnings(chat.messages);
  if (built.tokens.size() <= max_tokens || beginnings.empty()) return built;
  std::size_t low = 0, enough = beginnings.size() - 1;
  TUTTI_ASSIGN_OR_RETURN(built, build_chat(beginning_at(chat, beginnings[enough]), model));
  while (low < enough) {
    const std::size_t middle = low + (enough - low) / 2;
    TUTTI_ASSIGN_OR_RETURN(BuiltPrompt candidate,
                           build_chat(beginning_at(chat, beginnings[middle]), model));
    if (candidate.tokens.size() <= max_tokens) {
      enough = middle;
      built = std::move(candidate);
    } else {
      low = middle + 1;
    }
  }
  return built;
}

}  // namespace

Result<BuiltPrompt> build_prompt(const Prompt& prompt, const store::LoadedModel& model,
                                 bool drop_oldest_messages, int max_tokens) {
  if (const auto* tokens = std::get_if<TokensPrompt>(&prompt)) {
    TUTTI_RETURN_IF_ERROR(check_ids(tokens->tokens, "prompt", model.vocab_size));
    return BuiltPrompt{tokens->tokens, {}};
  }
  if (const auto* text = std::get_if<TextPrompt>(&prompt)) {
    TUTTI_RETURN_IF_ERROR(check_ids(text->context, "context", model.vocab_size));
    return tokenize({text->text, {}}, text->add_special_tokens && text->context.empty(),
                    text->context, model);
  }
  if (const auto* templated = std::get_if<TemplatedPrompt>(&prompt)) {
    TUTTI_RETURN_IF_ERROR(check_ids(templated->context, "context", model.vocab_size));
    TUTTI_ASSIGN_OR_RETURN(const text::RenderedPrompt rendered, render_templated(*templated));
    return tokenize(rendered, go_template_needs_start(rendered, model, templated->context),
                    templated->context, model);
  }
  const auto& chat = std::get<ChatPrompt>(prompt);
  TUTTI_RETURN_IF_ERROR(check_ids(chat.context, "context", model.vocab_size));
  ChatPrompt with_system = with_default_system(chat, model.info.system);
  if (!drop_oldest_messages) return build_chat(with_system, model);
  return build_shortened_chat(with_system, model,
                              static_cast<std::size_t>(std::max(0, max_tokens)));
}

}  // namespace tutti::server
