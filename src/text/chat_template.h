// Chat templates: the Jinja2 that models publish as `chat_template`, rendered by an interpreter of
// our own that agrees with transformers' apply_chat_template (an immutable sandbox of Jinja2 3.1
// with trim_blocks, lstrip_blocks, loop controls, the `generation` tag, tojson, raise_exception and
// strftime_now).
//
// A template is untrusted code. It can reach nothing but the variables it is given; its work is
// bounded by fuel, its memory and its output by limits, its nesting by constants. No input makes
// parse() or render() crash or run for long.
//
// Where transformers stops by accident (appending to a list, looping over tools that are absent,
// printing a generator as JSON), this goes on as the author of the template meant it.
#pragma once

#include <boost/json/object.hpp>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "text/text_span.h"

namespace tutti::text {

// A prompt, and which of its bytes are somebody's words.
struct RenderedPrompt {
  std::string text;
  // Bytes of `text` that came from strings of the variables (messages, tools, documents): sorted,
  // disjoint, not adjacent, none empty. A special token may be recognised in `text` only where it
  // shares no byte with a span: what a user typed stays text.
  std::vector<TextSpan> content_spans;
};

struct RenderOptions {
  // Steps a render may take: one for each expression and statement evaluated, for each 64 bytes of
  // string looked at, each 8 rewritten and each 1024 copied.
  std::int64_t fuel = 6'000'000;
  std::size_t max_output_bytes = std::size_t{64} << 20;
  // Bytes the template's values may hold at once, the variables included.
  std::size_t max_memory_bytes = std::size_t{512} << 20;
  // What strftime_now() tells, in local time; the system clock when absent.
  std::optional<std::chrono::system_clock::time_point> now;
  // Top-level strings that count as template text and not as content. So do top-level strings
  // that are one plain word (a switch: reasoning_effort = "high"), and the names of well-known
  // roles, because templates build special tokens from them ("<|" + message.role + "|>").
  std::vector<std::string> trusted_variables = {"bos_token",  "eos_token",   "pad_token",
                                                "unk_token",  "sep_token",   "cls_token",
                                                "mask_token", "image_token", "date_string"};
};

// Makes of a request's variables what transformers passes to a template: absent `tools` and
// `documents` become null, and a message that has one of `reasoning_content`, `thinking` and
// `reasoning` gets the others that templates read. Idempotent; render() does it itself.
boost::json::object normalise_variables(const boost::json::object& variables);

namespace jinja {
struct Program;
}

// Thread safety: constant after construction; render() may run on many threads at once.
class ChatTemplate {
 public:
  // Errors: kInvalidArgument with the line and what was expected; kTooLarge over 4 MiB of source.
  static Result<ChatTemplate> parse(std::string source);

  // Renders with the variables a template reads: `messages`, `tools`, `documents`,
  // `add_generation_prompt`, `bos_token`, `eos_token`, switches such as `enable_thinking`.
  // Errors, all kInvalidArgument: the template's own refusal through raise_exception, its message
  // word for word; an accident or a limit, with the line of the template.
  Result<RenderedPrompt> render(const boost::json::object& variables,
                                const RenderOptions& options = {}) const;

  const std::string& source() const { return source_; }

 private:
  ChatTemplate(std::string source, std::shared_ptr<const jinja::Program> program);

  std::string source_;
  std::shared_ptr<const jinja::Program> program_;
};

// ChatML, for a model that brings no template of its own.
const std::string& default_chatml_template();

}  // namespace tutti::text
