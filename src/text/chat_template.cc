#include "text/chat_template.h"

#include <ctime>
#include <string_view>
#include <unordered_set>
#include <utility>

#include "text/jinja/input.h"
#include "text/jinja/machine.h"
#include "text/jinja/parser.h"

namespace tutti::text {
namespace {

constexpr std::size_t kMaxSourceBytes = std::size_t{4} << 20;

std::tm local_time(std::optional<std::chrono::system_clock::time_point> now) {
  const std::time_t seconds =
      std::chrono::system_clock::to_time_t(now.value_or(std::chrono::system_clock::now()));
  std::tm time{};
  localtime_r(&seconds, &time);
  return time;
}

struct RenderFailure {
  jinja::FailureKind kind;
  Status status;
};

// One attempt: the prompt, or why there is none.
std::variant<RenderedPrompt, RenderFailure> render_once(const jinja::Program& program,
                                                        const boost::json::object& variables,
                                                        const RenderOptions& options) {
  jinja::Budget budget(options.fuel, options.max_memory_bytes);
  std::optional<jinja::Machine> machine;
  try {
    machine.emplace(program, budget, options.max_output_bytes, local_time(options.now));
    jinja::set_variables(*machine, variables, options.trusted_variables);
    machine->execute(program.body);
    const jinja::Text text = machine->output().finish();
    return RenderedPrompt{std::string(text.view()), {text.content().begin(), text.content().end()}};
  } catch (const jinja::Failure& failure) {
    if (failure.kind == jinja::FailureKind::kRefusal) {
      return RenderFailure{failure.kind, invalid_argument("messages", failure.message)};
    }
    const int line = machine ? machine->line() : 1;
    return RenderFailure{failure.kind,
                         invalid_argument("messages", "chat template line " + std::to_string(line) +
                                                          ": " + failure.message)};
  }
}

}  // namespace

ChatTemplate::ChatTemplate(std::string source, std::shared_ptr<const jinja::Program> program)
    : source_(std::move(source)), program_(std::move(program)) {}

Result<ChatTemplate> ChatTemplate::parse(std::string source) {
  if (source.size() > kMaxSourceBytes) {
    return Status(ErrorKind::kTooLarge, "a chat template of " + std::to_string(source.size()) +
                                            " bytes is longer than the " +
                                            std::to_string(kMaxSourceBytes) + " allowed");
  }
  TUTTI_ASSIGN_OR_RETURN(auto program, jinja::parse_program(source));
  return ChatTemplate(std::move(source), std::move(program));
}

Result<RenderedPrompt> ChatTemplate::render(const boost::json::object& variables,
                                            const RenderOptions& options) const {
  boost::json::object normalised = normalise_variables(variables);
  auto attempt = render_once(*program_, normalised, options);
  if (auto* prompt = std::get_if<RenderedPrompt>(&attempt)) return std::move(*prompt);
  const RenderFailure& failure = std::get<RenderFailure>(attempt);
  // A template that loops over absent tools expects them undefined, not none.
  bool has_absent = false;
  for (const char* name : {"tools", "documents"}) {
    if (!normalised.at(name).is_null()) continue;
    normalised.erase(name);
    has_absent = true;
  }
  if (failure.kind == jinja::FailureKind::kAccident && has_absent) {
    auto second = render_once(*program_, normalised, options);
    if (auto* prompt = std::get_if<RenderedPrompt>(&second)) return std::move(*prompt);
  }
  return failure.status;
}

boost::json::object normalise_variables(const boost::json::object& variables) {
  boost::json::object out = variables;
  for (const char* name : {"tools", "documents"}) out.emplace(name, nullptr);
  auto* messages = out.if_contains("messages");
  if (messages == nullptr || !messages->is_array()) return out;
  for (auto& message : messages->get_array()) {
    if (!message.is_object()) continue;
    auto& fields = message.get_object();
    for (const char* name : {"reasoning_content", "thinking", "reasoning"}) {
      const auto* found = fields.if_contains(name);
      if (found == nullptr || found->is_null()) continue;
      const boost::json::value reasoning = *found;
      fields.emplace("thinking", reasoning);
      fields["reasoning_content"] = reasoning;
      break;
    }
  }
  return out;
}

const std::string& default_chatml_template() {
  static const std::string kTemplate =
      "{%- for message in messages %}\n"
      "{{- '<|im_start|>' + message.role + '\\n' }}\n"
      "{%- if message.content is string %}\n"
      "{{- message.content }}\n"
      "{%- else %}\n"
      "{%- for part in message.content or [] %}\n"
      "{%- if part.type == 'text' %}{{- part.text }}{%- endif %}\n"
      "{%- endfor %}\n"
      "{%- endif %}\n"
      "{{- '<|im_end|>\\n' }}\n"
      "{%- endfor %}\n"
      "{%- if add_generation_prompt %}\n"
      "{{- '<|im_start|>assistant\\n' }}\n"
      "{%- endif %}\n";
  return kTemplate;
}

}  // namespace tutti::text
