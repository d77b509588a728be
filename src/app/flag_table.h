// Every flag of every command, with the environment variables that can stand in for it.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "app/settings.h"
#include "base/result.h"

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace tutti::app {

// A variable that is not ours and how its text becomes a flag's value (nullopt: not from this one).
struct ForeignVariable {
  std::string name;
  std::function<std::optional<std::string>(const std::string&)> convert =
      nullptr;  // null: as it is
};

struct Flag {
  std::string command;  // "serve"
  std::string name;     // "max-model-len"; for a positional its lower-case name
  std::string help;
  CLI::Option* option = nullptr;
  bool is_list = false;  // environment values are split at commas
  std::vector<ForeignVariable> foreign;

  // TUTTI_SERVE_MAX_MODEL_LEN, TUTTI_MAX_MODEL_LEN, then the foreign ones.
  std::vector<std::string> variables() const;
};

class FlagTable {
 public:
  Flag& add(Flag flag);
  const std::vector<Flag>& flags() const { return flags_; }

  // Gives each flag of `command` that the command line left out its value from the environment or
  // the file. Errors name the variable or the file's key. A bad value of a foreign variable is
  // only warned of, as Ollama does.
  Status fill(const std::string& command, const std::optional<SettingsFile>& file) const;

  // The flags of `command` that were set, by whatever means, with their values joined by commas.
  std::map<std::string, std::string> given(const std::string& command) const;

  // Errors for keys of the file at `path` that no command knows.
  Status check_keys(const SettingsFile& file, const std::filesystem::path& path) const;

  // The table of docs/configuration.md.
  std::string as_markdown() const;

 private:
  std::vector<Flag> flags_;
};

}  // namespace tutti::app
