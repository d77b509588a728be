#include "store/model_text.h"

#include "base/file.h"
#include "base/log.h"
#include "formats/gguf_vocab.h"
#include "formats/model_source.h"
#include "formats/tokenizer_json.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace tutti::store {
namespace {

constexpr std::size_t kMaxTokenizerBytes = std::size_t{512} << 20;

Result<text::TokenizerSpec> read_spec(const formats::ModelSource& source) {
  if (const formats::GgufFile* gguf = source.gguf()) return formats::gguf_vocab(*gguf);
  const auto& path = source.tokenizer_json_path();
  if (!path) {
    return not_found(source.path().string() +
                     ": there is no tokenizer.json (older tokenizer files are not read)");
  }
  TUTTI_ASSIGN_OR_RETURN(const std::string bytes, read_file(*path, kMaxTokenizerBytes));
  auto spec = formats::parse_tokenizer_json(bytes, source.tokenizer_config());
  if (!spec.ok()) return spec.status().with_context(path->string());
  return spec;
}

}  // namespace

Result<std::unique_ptr<text::Tokenizer>> load_tokenizer(const formats::ModelSource& source) {
  TUTTI_ASSIGN_OR_RETURN(text::TokenizerSpec spec, read_spec(source));
  auto tokenizer = text::Tokenizer::create(std::move(spec));
  if (!tokenizer.ok()) return tokenizer.status().with_context(source.path().string());
  return tokenizer;
}

Result<std::unique_ptr<text::ChatTemplate>> load_chat_template(const formats::ModelSource& source) {
  auto template_source = source.chat_template();
  if (!template_source) {
    log::warn("{}: the model has no chat template; ChatML is used", source.path().string());
    template_source = text::default_chatml_template();
  }
  auto parsed = text::ChatTemplate::parse(*std::move(template_source));
  if (!parsed.ok()) return parsed.status().with_context(source.path().string() + ": chat template");
  return std::make_unique<text::ChatTemplate>(*std::move(parsed));
}

boost::json::object special_token_variables(const text::Tokenizer& tokenizer) {
  boost::json::object variables;
  const auto add = [&](const char* name, const std::string& token) {
    if (!token.empty()) variables[name] = token;
  };
  add("bos_token", tokenizer.bos_token());
  add("eos_token", tokenizer.eos_token());
  add("unk_token", tokenizer.unk_token());
  add("pad_token", tokenizer.pad_token());
  return variables;
}

}  // namespace tutti::store
