// A settings file as TOML.
#pragma once

#include <toml++/toml.h>

#include <filesystem>

#include "base/result.h"

namespace tutti::app {

// At most 1 MiB. Errors: of read_file; kInvalidArgument with file and line for what is no TOML.
Result<toml::table> read_toml_file(const std::filesystem::path& path);

}  // namespace tutti::app
