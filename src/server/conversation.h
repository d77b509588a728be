// A conversation rendered by a chat template or by one of Ollama's Go templates.
#pragma once

#include <boost/json/object.hpp>
#include <string>

#include "base/result.h"
#include "core/request.h"
#include "text/chat_template.h"
#include "text/go_template.h"

namespace tutti::server {

// The model's own variables (bos_token …) lie under the request's. With continue_final_message the
// text ends with the last message's, as transformers' apply_chat_template does it.
// Errors: kInvalidArgument from the template, or when the last message is not in its output.
Result<text::RenderedPrompt> render_with_chat_template(const ChatPrompt& chat,
                                                       const text::ChatTemplate& chat_template,
                                                       const boost::json::object& model_variables);

// As Ollama does it: a template that reads .Messages gets them; an older one is rendered once for
// each turn of system, user and assistant, and the last turn ends where .Response stands.
Result<text::RenderedPrompt> render_with_go_template(const ChatPrompt& chat,
                                                     const text::GoTemplate& go_template);
Result<text::RenderedPrompt> render_templated(const TemplatedPrompt& templated);

// Puts `system` first when the conversation has no system message of its own.
ChatPrompt with_default_system(const ChatPrompt& chat, const std::string& system);

}  // namespace tutti::server
