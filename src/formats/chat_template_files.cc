#include "formats/chat_template_files.h"

#include <fmt/format.h>

#include "base/file.h"
#include "base/json.h"
#include "formats/model_source.h"

namespace tutti::formats {
namespace {
namespace fs = std::filesystem;

constexpr std::size_t kMaxTemplateBytes = std::size_t{1} << 20;
constexpr std::size_t kMaxTemplates = 64;
constexpr std::string_view kDefaultTemplate = "default";

Status too_large(const std::string& where, std::size_t size) {
  return Status(ErrorKind::kTooLarge,
                fmt::format("{}: a chat template of {} bytes is over the limit of {} bytes", where,
                            size, kMaxTemplateBytes));
}

Status add(ChatTemplates& templates, const std::string& where, std::string_view name,
           std::string_view text) {
  if (text.size() > kMaxTemplateBytes) return too_large(where, text.size());
  if (templates.size() >= kMaxTemplates) {
    return corrupt(fmt::format("{}: more than {} chat templates", where, kMaxTemplates));
  }
  templates.emplace(name, text);
  return Status();
}

// The value of "chat_template": a string, or a list of {"name", "template"}.
Status add_from_json(ChatTemplates& templates, const std::string& where,
                     const json::object& object) {
  const json::value* value = object.if_contains("chat_template");
  if (value == nullptr || value->is_null()) return Status();
  if (value->is_string()) return add(templates, where, kDefaultTemplate, value->get_string());
  if (!value->is_array()) return corrupt(where + ": chat_template must be a string or a list");
  for (const json::value& entry : value->get_array()) {
    const json::object* fields = entry.if_object();
    const json::value* name = fields == nullptr ? nullptr : fields->if_contains("name");
    const json::value* text = fields == nullptr ? nullptr : fields->if_contains("template");
    if (name == nullptr || text == nullptr || !name->is_string() || !text->is_string()) {
      return corrupt(where + ": chat_template: each entry must have strings name and template");
    }
    TUTTI_RETURN_IF_ERROR(add(templates, where, name->get_string(), text->get_string()));
  }
  return Status();
}

Status add_from_folder(ChatTemplates& templates, const fs::path& folder) {
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    const fs::path& path = entry->path();
    if (path.extension() != ".jinja") continue;
    TUTTI_ASSIGN_OR_RETURN(const std::string text, read_file(path, kMaxTemplateBytes));
    TUTTI_RETURN_IF_ERROR(add(templates, path.string(), path.stem().string(), text));
  }
  return Status();
}

}  // namespace

Result<ChatTemplates> chat_templates_of(const fs::path& folder,
                                        const json::object& tokenizer_config) {
  ChatTemplates templates;
  std::error_code ignored;
  const fs::path jinja = folder / "chat_template.jinja";
  if (fs::exists(jinja, ignored)) {
    TUTTI_ASSIGN_OR_RETURN(const std::string text, read_file(jinja, kMaxTemplateBytes));
    TUTTI_RETURN_IF_ERROR(add(templates, jinja.string(), kDefaultTemplate, text));
  }
  const fs::path in_json = folder / "chat_template.json";
  if (fs::exists(in_json, ignored)) {
    TUTTI_ASSIGN_OR_RETURN(const std::string text, read_file(in_json, 2 * kMaxTemplateBytes));
    TUTTI_ASSIGN_OR_RETURN(const json::object object, parse_config_json(text, in_json.string()));
    TUTTI_RETURN_IF_ERROR(add_from_json(templates, in_json.string(), object));
  }
  TUTTI_RETURN_IF_ERROR(
      add_from_json(templates, (folder / "tokenizer_config.json").string(), tokenizer_config));
  TUTTI_RETURN_IF_ERROR(add_from_folder(templates, folder / "additional_chat_templates"));
  return templates;
}

Result<ChatTemplates> chat_templates_of(const GgufFile& file) {
  constexpr std::string_view kKey = "tokenizer.chat_template";
  ChatTemplates templates;
  for (const std::string& key : file.keys()) {
    if (!key.starts_with(kKey)) continue;
    const bool is_named = key.size() > kKey.size() + 1 && key[kKey.size()] == '.';
    if (key.size() > kKey.size() && !is_named) continue;
    TUTTI_ASSIGN_OR_RETURN(const std::string_view text, file.get_string(key));
    const std::string name = is_named ? key.substr(kKey.size() + 1) : std::string(kDefaultTemplate);
    TUTTI_RETURN_IF_ERROR(add(templates, file.name(), name, text));
  }
  return templates;
}

}  // namespace tutti::formats
