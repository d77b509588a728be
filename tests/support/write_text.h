// For tests: a file with this text.
#pragma once

#include <filesystem>
#include <fstream>
#include <string_view>

namespace tutti {

inline void write_text(const std::filesystem::path& path, std::string_view text) {
  std::ofstream(path, std::ios::binary) << text;
}

}  // namespace tutti
