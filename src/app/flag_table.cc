#include "app/flag_table.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>

#include "base/log.h"

namespace tutti::app {
namespace {

std::string as_variable(const std::string& name) {
  std::string variable = name;
  for (char& c : variable) {
    c = c == '-' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  }
  return variable;
}

std::vector<std::string> split_at_commas(const std::string& text) {
  std::vector<std::string> parts;
  std::size_t begin = 0;
  while (begin <= text.size()) {
    const std::size_t comma = std::min(text.find(',', begin), text.size());
    if (comma > begin) parts.push_back(text.substr(begin, comma - begin));
    begin = comma + 1;
  }
  return parts;
}

// Hands values to an option as if the command line had given them.
Status give(const Flag& flag, const std::vector<std::string>& values, const std::string& source) {
  try {
    for (const std::string& value : values) flag.option->add_result(value);
    flag.option->run_callback();
  } catch (const CLI::Error& error) {
    flag.option->clear();
    return invalid_argument(flag.name, fmt::format("{}: {}", source, error.what()));
  }
  return {};
}

Status fill_from_environment(const Flag& flag, bool& filled) {
  for (const std::string& prefix :
       {"TUTTI_" + as_variable(flag.command) + "_", std::string("TUTTI_")}) {
    const std::string variable = prefix + as_variable(flag.name);
    const auto value = environment_value(variable);
    if (!value) continue;
    filled = true;
    return give(flag, flag.is_list ? split_at_commas(*value) : std::vector{*value}, variable);
  }
  for (const ForeignVariable& foreign : flag.foreign) {
    auto value = environment_value(foreign.name);
    if (value && foreign.convert) value = foreign.convert(*value);
    if (!value) continue;
    const Status status =
        give(flag, flag.is_list ? split_at_commas(*value) : std::vector{*value}, foreign.name);
    filled = status.ok();
    if (!filled) log::warn("{}; the default is used", status.message());
    return {};
  }
  return {};
}

}  // namespace

std::vector<std::string> Flag::variables() const {
  std::vector<std::string> names = {"TUTTI_" + as_variable(command) + "_" + as_variable(name),
                                    "TUTTI_" + as_variable(name)};
  for (const ForeignVariable& variable : foreign) names.push_back(variable.name);
  return names;
}

Flag& FlagTable::add(Flag flag) { return flags_.emplace_back(std::move(flag)); }

Status FlagTable::fill(const std::string& command, const std::optional<SettingsFile>& file) const {
  for (const Flag& flag : flags_) {
    if (flag.command != command || flag.option->count() > 0) continue;
    bool filled = false;
    TUTTI_RETURN_IF_ERROR(fill_from_environment(flag, filled));
    if (filled || !file) continue;
    for (const std::string& key : {command + "." + flag.name, flag.name}) {
      const auto found = file->find(key);
      if (found == file->end()) continue;
      TUTTI_RETURN_IF_ERROR(give(flag, found->second, "settings file, " + key));
      break;
    }
  }
  return {};
}

std::map<std::string, std::string> FlagTable::given(const std::string& command) const {
  std::map<std::string, std::string> values;
  for (const Flag& flag : flags_) {
    if (flag.command != command || flag.option->count() == 0) continue;
    values[flag.name] = fmt::format("{}", fmt::join(flag.option->results(), ","));
  }
  return values;
}

Status FlagTable::check_keys(const SettingsFile& file, const std::filesystem::path& path) const {
  for (const auto& [key, values] : file) {
    const bool known = std::any_of(flags_.begin(), flags_.end(), [&key = key](const Flag& flag) {
      return key == flag.name || key == flag.command + "." + flag.name;
    });
    if (!known) {
      return invalid_argument(key,
                              fmt::format("{}: no command has a flag for {}", path.string(), key));
    }
  }
  return {};
}

std::string FlagTable::as_markdown() const {
  std::string text;
  std::string command;
  for (const Flag& flag : flags_) {
    if (flag.command != command) {
      command = flag.command;
      text += fmt::format(
          "\n## tutti {}\n\n| flag | default | environment | what it does |\n|---|---|---|---|\n",
          command);
    }
    std::string variables;
    for (const std::string& name : flag.variables()) {
      variables += (variables.empty() ? "`" : ", `") + name + "`";
    }
    const bool positional = flag.option->get_positional();
    const std::string shown = positional ? flag.option->get_name(true) : "--" + flag.name;
    std::string standard = flag.option->get_default_str();
    if (standard == "\"\"" || standard == "[]") standard.clear();
    text += fmt::format("| `{}` | {} | {} | {} |\n", shown,
                        standard.empty() ? "" : "`" + standard + "`", variables, flag.help);
  }
  return text;
}

}  // namespace tutti::app
