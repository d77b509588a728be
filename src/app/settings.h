// Where a flag's value comes from when the command line does not give it. The order of precedence:
//   1. the command line
//   2. the environment (TUTTI_<COMMAND>_<FLAG>, TUTTI_<FLAG>, and Ollama's names where they exist)
//   3. the settings file (TOML): [<command>] flag = value, then flag = value at the top level
//   4. the default
// docs/configuration.md is generated from the same table (`tutti config-reference`).
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"

namespace tutti::app {

// "serve.port" or, at the top level, "port" -> the values as a command line would give them.
using SettingsFile = std::map<std::string, std::vector<std::string>>;

// Reads a TOML file of at most two levels, but for its tenants (tenant_settings.h). Keys may use
// '-' or '_'; they come out with '-'. Errors name the file, and the line or the key.
Result<SettingsFile> read_settings_file(const std::filesystem::path& path);

// The file to read: `given` (an error when it does not exist), else TUTTI_CONFIG, else the first of
// $XDG_CONFIG_HOME/tutti/config.toml, ~/.config/tutti/config.toml and /etc/tutti/config.toml that
// exists, else none.
Result<std::optional<std::filesystem::path>> find_settings_file(const std::string& given);

// An environment variable, trimmed of spaces and surrounding quotes; nullopt when unset or empty.
std::optional<std::string> environment_value(const std::string& name);

struct HostAndPort {
  std::string host;
  int port = 0;
};
// Ollama's OLLAMA_HOST: [scheme://]host[:port][/path]. IPv6 with or without brackets. A port that
// is missing or bad becomes 11434 (80 for http://, 443 for https://, when the port is missing);
// a missing host becomes 127.0.0.1.
HostAndPort parse_ollama_host(const std::string& value);

// "4GiB", "512MiB", "1.5GB", "1000000". Units are K, M, G, T with an optional iB (1024) or B
// (1000); a bare K, M, G, T counts by 1024. Errors: syntax, negative, over 2^62.
Result<std::uint64_t> parse_byte_size(const std::string& text);

}  // namespace tutti::app
