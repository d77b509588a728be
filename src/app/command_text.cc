// tokenize, detokenize and template: text in, text out, no weights.
#include <fmt/format.h>

#include <boost/json.hpp>
#include <cstdio>
#include <filesystem>

#include "app/commands.h"
#include "base/file.h"
#include "base/json.h"
#include "formats/model_source.h"
#include "store/model_name.h"
#include "store/model_text.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace tutti::app {
namespace {

constexpr std::size_t kMaxInputBytes = std::size_t{1} << 30;
constexpr std::size_t kMaxTemplateBytes = std::size_t{16} << 20;

void print_bytes(const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

// The text side of a model. A folder need not hold a whole model: a tokenizer.json will do.
Result<formats::ModelSource> open_text(const std::string& model) {
  constexpr auto kParts = formats::ModelParts::kTokenizer;
  const std::filesystem::path typed(model);
  if (std::filesystem::exists(typed / "tokenizer.json")) {
    return formats::ModelSource::open(typed, kParts);
  }
  TUTTI_ASSIGN_OR_RETURN(const auto location,
                         store::resolve_model(model, store::default_ollama_root()));
  return formats::ModelSource::open(location.path, kParts);
}

Result<std::unique_ptr<text::Tokenizer>> tokenizer_of(const std::string& model) {
  TUTTI_ASSIGN_OR_RETURN(const auto source, open_text(model));
  return store::load_tokenizer(source);
}

Result<std::vector<std::int32_t>> read_ids() {
  TUTTI_ASSIGN_OR_RETURN(const std::string text, read_standard_input(kMaxInputBytes));
  TUTTI_ASSIGN_OR_RETURN(const json::value input,
                         parse_json(text, {.max_depth = 4, .max_bytes = kMaxInputBytes}));
  const json::object* object = input.if_object();
  const json::value* list = object ? object->if_contains("ids") : nullptr;
  if (list == nullptr || !list->is_array()) {
    return invalid_argument("ids", "standard input must be {\"ids\": [1, 2, 3]}");
  }
  std::vector<std::int32_t> ids;
  for (const json::value& value : list->as_array()) {
    const std::int64_t id = value.is_int64() ? value.as_int64() : -1;
    if (id < 0 || id > INT32_MAX) {
      return invalid_argument("ids",
                              fmt::format("ids[{}] must be an integer in [0, 2^31)", ids.size()));
    }
    ids.push_back(static_cast<std::int32_t>(id));
  }
  return ids;
}

Status print_tokens(const TokenizeOptions& options) {
  TUTTI_ASSIGN_OR_RETURN(const auto tokenizer, tokenizer_of(options.model));
  TUTTI_ASSIGN_OR_RETURN(const std::string text, read_standard_input(kMaxInputBytes));
  const auto ids = tokenizer->encode(
      text, {.add_special_tokens = !options.no_special, .parse_special = !options.plain});
  print_bytes(write_json(json::object{{"ids", json::value_from(ids)}}) + "\n");
  return {};
}

Status print_text(const DetokenizeOptions& options) {
  TUTTI_ASSIGN_OR_RETURN(const auto tokenizer, tokenizer_of(options.model));
  TUTTI_ASSIGN_OR_RETURN(const auto ids, read_ids());
  for (const std::int32_t id : ids) {
    if (id >= tokenizer->vocab_size()) {
      return invalid_argument(
          "ids", fmt::format("{} is outside the vocabulary, [0, {})", id, tokenizer->vocab_size()));
    }
  }
  print_bytes(tokenizer->decode(ids, !options.with_special));
  return {};
}

// The template, and the special tokens of the model that it came from.
struct TemplateToRender {
  std::unique_ptr<text::ChatTemplate> chat_template;
  json::object variables;
};

Result<TemplateToRender> template_of_file(const std::string& file) {
  TUTTI_ASSIGN_OR_RETURN(std::string source, read_file(file, kMaxTemplateBytes));
  TUTTI_ASSIGN_OR_RETURN(auto parsed, text::ChatTemplate::parse(std::move(source)));
  return TemplateToRender{std::make_unique<text::ChatTemplate>(std::move(parsed)), {}};
}

Result<TemplateToRender> template_of_model(const std::string& model) {
  TUTTI_ASSIGN_OR_RETURN(const auto source, open_text(model));
  TemplateToRender result;
  TUTTI_ASSIGN_OR_RETURN(result.chat_template, store::load_chat_template(source));
  if (auto tokenizer = store::load_tokenizer(source); tokenizer.ok()) {
    result.variables = store::special_token_variables(**tokenizer);
  }
  return result;
}

Status print_prompt(const TemplateOptions& options) {
  if (options.model.empty() && options.file.empty()) {
    return invalid_argument("template", "name a model, or a file with --template");
  }
  TUTTI_ASSIGN_OR_RETURN(auto chosen, options.file.empty() ? template_of_model(options.model)
                                                           : template_of_file(options.file));
  TUTTI_ASSIGN_OR_RETURN(const std::string text, read_standard_input(kMaxInputBytes));
  TUTTI_ASSIGN_OR_RETURN(const json::value input, parse_json(text, {.max_bytes = kMaxInputBytes}));
  const json::object* object = input.if_object();
  if (object == nullptr) {
    return invalid_argument("", "standard input must be a JSON object of the template's variables");
  }
  for (const auto& [name, value] : *object) chosen.variables[name] = value;
  TUTTI_ASSIGN_OR_RETURN(const auto rendered, chosen.chat_template->render(chosen.variables));
  print_bytes(rendered.text);
  return {};
}

int exit_code(const Status& status) { return status.ok() ? 0 : report(status); }

}  // namespace

int tokenize(const TokenizeOptions& options) { return exit_code(print_tokens(options)); }
int detokenize(const DetokenizeOptions& options) { return exit_code(print_text(options)); }

int render_template(const TemplateOptions& options) {
  const Status status = print_prompt(options);
  if (status.ok()) return 0;
  // A template's refusal is its message alone, word for word.
  fmt::print(stderr, "{}\n", status.message());
  return 1;
}

}  // namespace tutti::app
