// Ollama's template language, for `template` in /api/generate and for layers of an Ollama store:
// the part of Go's text/template that published Modelfiles use. Actions: pipelines, if / else if /
// else, range (with variables), with, define / template / block, variables (:= and =), break,
// continue, comments, trim markers. Functions: and or not eq ne lt le gt ge len index slice json
// print printf println html urlquery currentDate.
//
// Bounded like chat_template.h: fuel, memory, output, nesting.
// Source of the format: https://pkg.go.dev/text/template
#pragma once

#include <boost/json/object.hpp>
#include <memory>
#include <string>

#include "base/result.h"
#include "text/chat_template.h"

namespace tutti::text {

namespace go {
struct Program;
}

// Thread safety: constant after construction; render() may run on many threads at once.
class GoTemplate {
 public:
  // Errors: kInvalidArgument with the line and what was expected.
  static Result<GoTemplate> parse(std::string_view source);

  // Renders with the fields of Ollama's templates as `data`: `System`, `Prompt`, `Response`,
  // `Suffix`, `Messages` (each with `Role`, `Content`, `ToolCalls` …), `Tools`. A field that is
  // absent is empty. Without a `Response` in `data` the prompt ends where the template would print
  // it, which is where the model goes on. Errors, all kInvalidArgument: an accident or a limit,
  // with the line.
  Result<RenderedPrompt> render(const boost::json::object& data,
                                const RenderOptions& options = {}) const;

  // Whether the template reads the field anywhere (".Messages", ".Suffix", ".Tools").
  bool mentions_field(const std::string& name) const;

 private:
  explicit GoTemplate(std::shared_ptr<const go::Program> program);

  std::shared_ptr<const go::Program> program_;
};

}  // namespace tutti::text
