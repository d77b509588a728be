#include "tests/support/goldens.h"

#include <cstdlib>
#include <map>

namespace tutti::testing {
namespace fs = std::filesystem;

fs::path goldens_dir() { return fs::path(TUTTI_SOURCE_DIR) / "tests" / "goldens"; }

std::vector<fs::path> golden_roots(const std::string& relative) {
  std::vector<fs::path> roots;
  for (const fs::path& root :
       {goldens_dir(), fs::path(TUTTI_SOURCE_DIR) / ".." / "shared" / "goldens"}) {
    if (fs::is_directory(root / relative)) roots.push_back(root / relative);
  }
  return roots;
}

std::vector<fs::path> golden_entries(const std::string& relative) {
  std::map<std::string, fs::path> by_name;
  for (const fs::path& root : golden_roots(relative)) {
    for (const auto& entry : fs::directory_iterator(root)) {
      by_name.emplace(entry.path().filename().string(), entry.path());
    }
  }
  std::vector<fs::path> entries;
  for (const auto& [name, path] : by_name) entries.push_back(path);
  return entries;
}

fs::path golden_path(const std::string& relative) {
  for (const fs::path& root :
       {goldens_dir(), fs::path(TUTTI_SOURCE_DIR) / ".." / "shared" / "goldens"}) {
    if (fs::exists(root / relative)) return root / relative;
  }
  return {};
}

fs::path demo_model_dir() { return fs::path(TUTTI_SOURCE_DIR) / "models" / "demo"; }

fs::path make_temp_dir() {
  struct Remover {
    std::vector<fs::path> paths;
    ~Remover() {
      std::error_code ignored;
      for (const fs::path& path : paths) fs::remove_all(path, ignored);
    }
  };
  static Remover remover;
  std::string pattern = (fs::temp_directory_path() / "tutti-test-XXXXXX").string();
  fs::path path = ::mkdtemp(pattern.data());
  remover.paths.push_back(path);
  return path;
}

}  // namespace tutti::testing
