#include "app/settings.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>

#include "app/toml_file.h"

namespace tutti::app {
namespace fs = std::filesystem;
namespace {

std::string with_dashes(std::string_view key) {
  std::string name(key);
  std::replace(name.begin(), name.end(), '_', '-');
  return name;
}

// A scalar as the command line would write it; nullopt for a table or an array.
std::optional<std::string> scalar_text(const toml::node& node) {
  if (const auto* text = node.as_string()) return text->get();
  if (const auto* integer = node.as_integer()) return std::to_string(integer->get());
  if (const auto* number = node.as_floating_point()) return fmt::format("{}", number->get());
  if (const auto* boolean = node.as_boolean()) return boolean->get() ? "true" : "false";
  return std::nullopt;
}

Status add_setting(const std::string& key, const toml::node& node, SettingsFile& settings) {
  std::vector<std::string> values;
  if (const auto* array = node.as_array()) {
    for (const toml::node& element : *array) {
      auto text = scalar_text(element);
      if (!text)
        return invalid_argument(key, fmt::format("{}: a list of plain values is wanted", key));
      values.push_back(*std::move(text));
    }
  } else if (auto text = scalar_text(node)) {
    values.push_back(*std::move(text));
  } else {
    return invalid_argument(key, fmt::format("{}: a plain value or a list is wanted", key));
  }
  if (!settings.emplace(key, std::move(values)).second) {
    return invalid_argument(key, fmt::format("{}: given twice", key));
  }
  return {};
}

std::string trim(std::string_view text, const char* characters) {
  const std::size_t begin = text.find_first_not_of(characters);
  if (begin == std::string_view::npos) return {};
  return std::string(text.substr(begin, text.find_last_not_of(characters) - begin + 1));
}

std::optional<int> parse_port(std::string_view text) {
  int port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  if (port < 0 || port > 65535) return std::nullopt;
  return port;
}

}  // namespace

Result<SettingsFile> read_settings_file(const fs::path& path) {
  TUTTI_ASSIGN_OR_RETURN(const toml::table table, read_toml_file(path));
  SettingsFile settings;
  for (const auto& [key, node] : table) {
    const std::string name = with_dashes(key.str());
    if (name == "tenants") continue;  // see tenant_settings.h
    const toml::table* command = node.as_table();
    if (command == nullptr) {
      if (Status status = add_setting(name, node, settings); !status.ok()) {
        return status.with_context(path.string());
      }
      continue;
    }
    for (const auto& [inner_key, inner_node] : *command) {
      const std::string full_name = name + "." + with_dashes(inner_key.str());
      if (Status status = add_setting(full_name, inner_node, settings); !status.ok()) {
        return status.with_context(path.string());
      }
    }
  }
  return settings;
}

Result<std::optional<fs::path>> find_settings_file(const std::string& given) {
  std::optional<std::string> named;
  if (!given.empty()) {
    named = given;
  } else {
    named = environment_value("TUTTI_CONFIG");
  }
  if (named) {
    if (!fs::exists(*named)) return not_found(fmt::format("settings file {}: not found", *named));
    return std::optional<fs::path>(*named);
  }
  std::vector<fs::path> candidates;
  const auto home = environment_value("HOME");
  if (const auto config_home = environment_value("XDG_CONFIG_HOME")) {
    candidates.push_back(fs::path(*config_home) / "tutti" / "config.toml");
  }
  if (home) candidates.push_back(fs::path(*home) / ".config" / "tutti" / "config.toml");
  candidates.emplace_back("/etc/tutti/config.toml");
  for (const fs::path& candidate : candidates) {
    std::error_code ignored;
    if (fs::is_regular_file(candidate, ignored)) return std::optional<fs::path>(candidate);
  }
  return std::optional<fs::path>();
}

std::optional<std::string> environment_value(const std::string& name) {
  const char* raw = std::getenv(name.c_str());
  if (raw == nullptr) return std::nullopt;
  std::string value = trim(trim(raw, " \t\r\n"), "\"'");
  if (value.empty()) return std::nullopt;
  return value;
}

HostAndPort parse_ollama_host(const std::string& value) {
  constexpr int kDefaultPort = 11434;
  int default_port = kDefaultPort;
  std::string_view rest = value;
  if (const std::size_t scheme = rest.find("://"); scheme != std::string_view::npos) {
    if (rest.substr(0, scheme) == "http") default_port = 80;
    if (rest.substr(0, scheme) == "https") default_port = 443;
    rest.remove_prefix(scheme + 3);
  }
  rest = rest.substr(0, rest.find('/'));

  HostAndPort result{"127.0.0.1", default_port};
  std::string_view host = rest;
  if (rest.starts_with('[')) {
    const std::size_t close = rest.find(']');
    host = rest.substr(1, close == std::string_view::npos ? close : close - 1);
    rest = close == std::string_view::npos ? std::string_view() : rest.substr(close + 1);
    if (rest.starts_with(':')) result.port = parse_port(rest.substr(1)).value_or(kDefaultPort);
  } else if (std::count(rest.begin(), rest.end(), ':') == 1) {
    const std::size_t colon = rest.find(':');
    host = rest.substr(0, colon);
    result.port = parse_port(rest.substr(colon + 1)).value_or(kDefaultPort);
  }
  if (!host.empty()) result.host = std::string(host);
  return result;
}

Result<std::uint64_t> parse_byte_size(const std::string& text) {
  const std::string trimmed = trim(text, " \t");
  double number = 0;
  const auto [end, error] =
      std::from_chars(trimmed.data(), trimmed.data() + trimmed.size(), number);
  std::string unit = trim(std::string_view(end, trimmed.data() + trimmed.size()), " ");
  for (char& c : unit) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  const std::string letters = "KMGT";
  double scale = 1;
  bool known = unit.empty() || unit == "B";
  if (!known && letters.find(unit[0]) != std::string::npos) {
    const std::string suffix = unit.substr(1);
    const double base = suffix == "B" ? 1000 : 1024;
    known = suffix.empty() || suffix == "B" || suffix == "IB";
    scale = std::pow(base, static_cast<double>(letters.find(unit[0]) + 1));
  }
  const double bytes = number * scale;
  if (error != std::errc() || !known || !(bytes >= 0) || bytes > 4.6e18) {
    return invalid_argument(
        "", fmt::format("\"{}\" is not a size; write for example 4GiB, 512MiB or 1000000", text));
  }
  return static_cast<std::uint64_t>(bytes);
}

}  // namespace tutti::app
