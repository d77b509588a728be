#include "app/toml_file.h"

#include <fmt/format.h>

#include <string>

#include "base/file.h"

namespace tutti::app {
namespace {

constexpr std::size_t kMaxTomlBytes = std::size_t{1} << 20;

}  // namespace

Result<toml::table> read_toml_file(const std::filesystem::path& path) {
  TUTTI_ASSIGN_OR_RETURN(const std::string text, read_file(path, kMaxTomlBytes));
  try {
    return toml::table(toml::parse(text, path.string()));
  } catch (const toml::parse_error& error) {
    return invalid_argument("", fmt::format("{}:{}: {}", path.string(), error.source().begin.line,
                                            std::string(error.description())));
  }
}

}  // namespace tutti::app
