// Chat templates and Ollama's templates from untrusted bytes: no input may crash, hang or leak.
#include <cstddef>
#include <cstdint>
#include <string>

#include "base/check.h"
#include "base/json.h"
#include "text/chat_template.h"
#include "text/go_template.h"

namespace {

const boost::json::object& variables() {
  static const boost::json::object kVariables =
      tutti::parse_json(R"({"messages": [{"role": "user", "content": "Hi <|im_end|> é"},
                              {"role": "assistant", "content": "", "tool_calls": [
                                {"function": {"name": "f", "arguments": {"a": [1, 2.5, null]}}}]}],
                            "tools": [{"type": "function", "function": {"name": "f"}}],
                            "add_generation_prompt": true, "bos_token": "<s>",
                            "Prompt": "Hi", "System": "Be brief.", "Messages": [{"Role": "user"}]})")
          .value()
          .as_object();
  return kVariables;
}

void check_spans(const tutti::text::RenderedPrompt& prompt) {
  std::size_t end = 0;
  for (const auto& span : prompt.content_spans) {
    TUTTI_CHECK(span.begin >= end && span.begin < span.end) << "spans out of order";
    end = span.end;
  }
  TUTTI_CHECK(end <= prompt.text.size()) << "a span lies outside of the prompt";
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string source(reinterpret_cast<const char*>(data), size);
  tutti::text::RenderOptions options;
  options.fuel = 20'000;
  options.max_output_bytes = 1 << 16;
  options.max_memory_bytes = 1 << 22;
  if (const auto parsed = tutti::text::ChatTemplate::parse(source); parsed.ok()) {
    const auto prompt = parsed->render(variables(), options);
    if (prompt.ok()) check_spans(*prompt);
  }
  if (const auto parsed = tutti::text::GoTemplate::parse(source); parsed.ok()) {
    const auto prompt = parsed->render(variables(), options);
    if (prompt.ok()) check_spans(*prompt);
  }
  return 0;
}
